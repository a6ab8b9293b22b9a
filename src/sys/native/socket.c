/*
 * Sockets: making them with device, mark, local address and buffers, and moving TCP bytes straight
 * between a socket and a memory. Every socket is non-blocking and close-on-exec.
 */
#include "addon.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "kernel.h"

/* Most spans of one call; what is beyond waits for the next. */
#define PARTS_MAX 64

unsigned make_name(struct sockaddr_storage *name, uint32_t family, const uint8_t *address,
                   uint16_t port) {
  memset(name, 0, sizeof *name);
  if (family == 4) {
    struct sockaddr_in *in = (struct sockaddr_in *)name;
    in->sin_family = AF_INET;
    in->sin_port = htons(port);
    memcpy(&in->sin_addr, address, 4);
    return sizeof *in;
  }
  if (family == 6) {
    struct sockaddr_in6 *in = (struct sockaddr_in6 *)name;
    in->sin6_family = AF_INET6;
    in->sin6_port = htons(port);
    memcpy(&in->sin6_addr, address, 16);
    return sizeof *in;
  }
  return 0;
}

uint32_t read_name(const struct sockaddr_storage *name, uint8_t *address, uint16_t *port) {
  memset(address, 0, 16);
  if (name->ss_family == AF_INET) {
    const struct sockaddr_in *in = (const struct sockaddr_in *)name;
    memcpy(address, &in->sin_addr, 4);
    *port = ntohs(in->sin_port);
    return 4;
  }
  if (name->ss_family == AF_INET6) {
    const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)name;
    memcpy(address, &in->sin6_addr, 16);
    *port = ntohs(in->sin6_port);
    return 6;
  }
  *port = 0;
  return 0;
}

/* What a socket is to be made of; `missing` values are left to the kernel. */
typedef struct wish {
  bool stream;
  char device[IFNAMSIZ];
  bool has_mark;
  uint32_t mark;
  uint8_t *local;
  size_t local_len;
  uint32_t port;
  uint32_t send_buffer;
  uint32_t recv_buffer;
} wish;

/* The named option; false if it is missing or undefined. */
static bool has_option(napi_env env, napi_value options, const char *name, napi_value *out) {
  napi_valuetype type = napi_undefined;
  if (napi_get_named_property(env, options, name, out) != napi_ok) return false;
  return napi_typeof(env, *out, &type) == napi_ok && type != napi_undefined && type != napi_null;
}

static bool number_option(napi_env env, napi_value options, const char *name, uint32_t *out) {
  napi_value value;
  if (!has_option(env, options, name, &value)) return false;
  return napi_get_value_uint32(env, value, out) == napi_ok;
}

static bool read_wish(napi_env env, napi_value options, wish *out) {
  napi_value value;
  memset(out, 0, sizeof *out);
  if (has_option(env, options, "device", &value) &&
      !take_string(env, value, out->device, sizeof out->device, "setsockopt SO_BINDTODEVICE")) {
    return false;
  }
  if (has_option(env, options, "localAddress", &value) &&
      !take_bytes(env, value, &out->local, &out->local_len)) {
    return false;
  }
  out->has_mark = number_option(env, options, "mark", &out->mark);
  number_option(env, options, "localPort", &out->port);
  number_option(env, options, "sendBuffer", &out->send_buffer);
  number_option(env, options, "recvBuffer", &out->recv_buffer);
  if (out->port > 65535) {
    fail(env, EINVAL, "bind");
    return false;
  }
  return true;
}

static int set_int(int fd, int level, int option, int value) {
  return setsockopt(fd, level, option, &value, sizeof value);
}

static void set_buffer(int fd, int forced, int plain, uint32_t bytes) {
  if (bytes == 0) return;
  int value = bytes > INT32_MAX / 2 ? INT32_MAX / 2 : (int)bytes;
  if (set_int(fd, SOL_SOCKET, forced, value) != 0) set_int(fd, SOL_SOCKET, plain, value);
}

/* Binds to the local address or port wished for; 0 or an errno. */
static int bind_local(int fd, uint32_t family, const wish *w) {
  static const uint8_t any[16];
  struct sockaddr_storage name;
  if (w->local == NULL && w->port == 0) return 0;
  if (w->local != NULL && w->local_len != (family == 4 ? 4 : 16)) return EAFNOSUPPORT;
  /* With a free choice of port the kernel chooses at connect, per destination. */
  if (w->port == 0 && w->stream) set_int(fd, IPPROTO_IP, KERNEL_IP_BIND_ADDRESS_NO_PORT, 1);
  unsigned len = make_name(&name, family, w->local == NULL ? any : w->local, (uint16_t)w->port);
  return bind(fd, (struct sockaddr *)&name, len) == 0 ? 0 : errno;
}

/* Applies a wish; the failing call's name, or NULL. errno tells the cause. */
static const char *apply_wish(int fd, uint32_t family, const wish *w) {
  if (family == 6) set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
  if (w->device[0] != 0 && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, w->device,
                                      (socklen_t)strlen(w->device) + 1) != 0) {
    return "setsockopt SO_BINDTODEVICE";
  }
  if (w->has_mark && set_int(fd, SOL_SOCKET, SO_MARK, (int)w->mark) != 0) {
    return "setsockopt SO_MARK";
  }
  set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, w->send_buffer);
  set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, w->recv_buffer);
  errno = bind_local(fd, family, w);
  return errno == 0 ? NULL : "bind";
}

/*
 * What datagram and raw sockets have on top; all of it is optional in the kernel. Echo sockets have
 * no error queue: a dead host is to stay silent, and nobody would take the errors out.
 */
static void apply_kind(int fd, uint32_t family, const char *type) {
  if (strcmp(type, "dgram") == 0) {
    if (family == 4) set_int(fd, IPPROTO_IP, KERNEL_IP_RECVERR, 1);
    else set_int(fd, IPPROTO_IPV6, KERNEL_IPV6_RECVERR, 1);
    set_int(fd, KERNEL_SOL_UDP, KERNEL_UDP_GRO, 1);
  }
  if (strcmp(type, "raw-icmp") != 0) return;
  if (family == 4) {
    /* A set bit blocks a type; only echo replies (0) pass. */
    set_int(fd, KERNEL_SOL_RAW, KERNEL_ICMP_FILTER, ~1);
  } else {
    /* 129, echo reply, is bit 1 of word 4. */
    uint32_t filter[8];
    memset(filter, 0xff, sizeof filter);
    filter[4] &= ~2u;
    setsockopt(fd, IPPROTO_ICMPV6, KERNEL_ICMPV6_FILTER, filter, sizeof filter);
  }
}

/* socket(family, type, options): fd */
static napi_value make_socket(napi_env env, napi_callback_info info) {
  addon *owner;
  napi_value values[3];
  uint32_t family;
  char type[16];
  wish w;
  if (!take_values(env, info, values, 3, &owner)) return NULL;
  if (napi_get_value_uint32(env, values[0], &family) != napi_ok || (family != 4 && family != 6)) {
    return fail(env, EAFNOSUPPORT, "socket");
  }
  if (!take_string(env, values[1], type, sizeof type, "socket")) return NULL;
  if (!read_wish(env, values[2], &w)) return NULL;
  int kind;
  int protocol = 0;
  w.stream = strcmp(type, "stream") == 0;
  if (w.stream) kind = SOCK_STREAM;
  else if (strcmp(type, "dgram") == 0) kind = SOCK_DGRAM;
  else if (strcmp(type, "ping") == 0) kind = SOCK_DGRAM, protocol = IPPROTO_ICMP;
  else if (strcmp(type, "raw-icmp") == 0) kind = SOCK_RAW, protocol = IPPROTO_ICMP;
  else return fail(env, EPROTONOSUPPORT, "socket");
  if (protocol != 0 && family == 6) protocol = IPPROTO_ICMPV6;
  int domain = family == 4 ? AF_INET : AF_INET6;
  int fd = socket(domain, kind | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
  if (fd < 0) return fail(env, errno, "socket");
  const char *failed = apply_wish(fd, family, &w);
  if (failed != NULL) {
    int err = errno;
    close(fd);
    return fail(env, err, failed);
  }
  apply_kind(fd, family, type);
  return give_number(env, fd);
}

/* connect(fd, address, port): 0 or -errno */
static napi_value connect_to(napi_env env, napi_callback_info info) {
  addon *owner;
  napi_value values[3];
  int32_t fd;
  uint32_t port;
  uint8_t *address;
  size_t len;
  struct sockaddr_storage name;
  if (!take_values(env, info, values, 3, &owner)) return NULL;
  if (napi_get_value_int32(env, values[0], &fd) != napi_ok ||
      napi_get_value_uint32(env, values[2], &port) != napi_ok) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "connect expects (fd, address, port)");
    return NULL;
  }
  if (!take_bytes(env, values[1], &address, &len)) return NULL;
  if ((len != 4 && len != 16) || port > 65535) return give_number(env, -EINVAL);
  unsigned size = make_name(&name, len == 4 ? 4 : 6, address, (uint16_t)port);
  int done;
  do {
    done = connect(fd, (struct sockaddr *)&name, size);
  } while (done != 0 && errno == EINTR);
  return give_number(env, done == 0 ? 0 : -errno);
}

/* socketError(fd): a positive errno or 0 */
static napi_value socket_error(napi_env env, napi_callback_info info) {
  addon *owner;
  uint32_t fd;
  int err = 0;
  socklen_t len = sizeof err;
  if (!take_numbers(env, info, &fd, 1, &owner)) return NULL;
  if (getsockopt((int)fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0) err = errno;
  return give_number(env, err);
}

/* setNoDelay(fd, on): void */
static napi_value set_no_delay(napi_env env, napi_callback_info info) {
  addon *owner;
  napi_value values[2];
  int32_t fd;
  bool on = false;
  if (!take_values(env, info, values, 2, &owner)) return NULL;
  if (napi_get_value_int32(env, values[0], &fd) != napi_ok ||
      napi_get_value_bool(env, values[1], &on) != napi_ok) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "setNoDelay expects (fd, boolean)");
    return NULL;
  }
  if (set_int(fd, IPPROTO_TCP, TCP_NODELAY, on) != 0) {
    return fail(env, errno, "setsockopt TCP_NODELAY");
  }
  return NULL;
}

/* setKeepAlive(fd, idleSeconds, intervalSeconds, count): void */
static napi_value set_keep_alive(napi_env env, napi_callback_info info) {
  addon *owner;
  napi_value values[4];
  int32_t numbers[4];
  if (!take_values(env, info, values, 4, &owner)) return NULL;
  for (int i = 0; i < 4; i++) {
    if (napi_get_value_int32(env, values[i], &numbers[i]) != napi_ok) {
      napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "setKeepAlive expects four numbers");
      return NULL;
    }
  }
  int fd = numbers[0];
  if (set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1) != 0 ||
      set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, numbers[1]) != 0 ||
      set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, numbers[2]) != 0 ||
      set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, numbers[3]) != 0) {
    return fail(env, errno, "setsockopt SO_KEEPALIVE");
  }
  return NULL;
}

/* socketName(fd, peer): {address, port} or undefined */
static napi_value socket_name(napi_env env, napi_callback_info info) {
  addon *owner;
  napi_value values[2];
  napi_value result;
  int32_t fd;
  bool peer = false;
  struct sockaddr_storage name;
  socklen_t len = sizeof name;
  uint8_t address[16];
  uint16_t port;
  if (!take_values(env, info, values, 2, &owner)) return NULL;
  if (napi_get_value_int32(env, values[0], &fd) != napi_ok) return give_undefined(env);
  napi_get_value_bool(env, values[1], &peer);
  int done = peer ? getpeername(fd, (struct sockaddr *)&name, &len)
                  : getsockname(fd, (struct sockaddr *)&name, &len);
  uint32_t family = done == 0 ? read_name(&name, address, &port) : 0;
  if (family == 0 || napi_create_object(env, &result) != napi_ok) return give_undefined(env);
  napi_set_named_property(env, result, "address", give_bytes(env, address, family == 4 ? 4 : 16));
  napi_set_named_property(env, result, "port", give_number(env, port));
  return result;
}

/*
 * Turns spans {ptr, len} into parts; answers their number, or -EFAULT if one is not in the memory,
 * or -EINVAL if they hold no byte at all.
 */
static int make_parts(const memory *m, uint32_t spans, uint32_t count, struct iovec *parts) {
  uint64_t total = 0;
  if (count > PARTS_MAX) count = PARTS_MAX;
  if (!memory_has(m, spans, (uint64_t)count * ABI_SPAN_BYTES)) return -EFAULT;
  for (uint32_t i = 0; i < count; i++) {
    const uint8_t *span = m->base + spans + (size_t)i * ABI_SPAN_BYTES;
    uint32_t ptr = load32(span);
    uint32_t len = load32(span + 4);
    if (!memory_has(m, ptr, len)) return -EFAULT;
    parts[i].iov_base = m->base + ptr;
    parts[i].iov_len = len;
    total += len;
  }
  return total == 0 ? -EINVAL : (int)count;
}

/* The common part of sendSpans and recvSpans. */
static napi_value move_spans(napi_env env, napi_callback_info info, bool out) {
  addon *owner;
  uint32_t args[4];
  memory m;
  struct iovec parts[PARTS_MAX];
  struct msghdr message;
  if (!take_numbers(env, info, args, 4, &owner)) return NULL;
  if (!find_memory(env, owner, args[0], &m)) return give_number(env, -EFAULT);
  int count = make_parts(&m, args[2], args[3], parts);
  if (count < 0) return give_number(env, count);
  memset(&message, 0, sizeof message);
  message.msg_iov = parts;
  message.msg_iovlen = (size_t)count;
  ssize_t done;
  do {
    done = out ? sendmsg((int)args[1], &message, MSG_NOSIGNAL | MSG_DONTWAIT)
               : recvmsg((int)args[1], &message, MSG_DONTWAIT);
  } while (done < 0 && errno == EINTR);
  return give_number(env, done < 0 ? -errno : done);
}

static napi_value send_spans(napi_env env, napi_callback_info info) {
  return move_spans(env, info, true);
}

static napi_value recv_spans(napi_env env, napi_callback_info info) {
  return move_spans(env, info, false);
}

/* shutdownWrite(fd): 0 or -errno */
static napi_value shutdown_write(napi_env env, napi_callback_info info) {
  addon *owner;
  uint32_t fd;
  if (!take_numbers(env, info, &fd, 1, &owner)) return NULL;
  return give_number(env, shutdown((int)fd, SHUT_WR) == 0 ? 0 : -errno);
}

static void close_owned(addon *owner, int fd) {
  if (fd < 0) return;
  poll_forget(owner, fd);
  tun_forget(owner, fd);
  close(fd);
}

/* close(fd): void */
static napi_value close_fd(napi_env env, napi_callback_info info) {
  addon *owner;
  uint32_t fd;
  if (!take_numbers(env, info, &fd, 1, &owner)) return NULL;
  close_owned(owner, (int)fd);
  return NULL;
}

/* reset(fd): void */
static napi_value reset_fd(napi_env env, napi_callback_info info) {
  addon *owner;
  uint32_t fd;
  struct linger now = {.l_onoff = 1, .l_linger = 0};
  if (!take_numbers(env, info, &fd, 1, &owner)) return NULL;
  setsockopt((int)fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  close_owned(owner, (int)fd);
  return NULL;
}

void define_socket(napi_env env, napi_value exports, addon *owner) {
  define(env, exports, owner, "socket", make_socket);
  define(env, exports, owner, "connect", connect_to);
  define(env, exports, owner, "socketError", socket_error);
  define(env, exports, owner, "setNoDelay", set_no_delay);
  define(env, exports, owner, "setKeepAlive", set_keep_alive);
  define(env, exports, owner, "socketName", socket_name);
  define(env, exports, owner, "sendSpans", send_spans);
  define(env, exports, owner, "recvSpans", recv_spans);
  define(env, exports, owner, "shutdownWrite", shutdown_write);
  define(env, exports, owner, "close", close_fd);
  define(env, exports, owner, "reset", reset_fd);
}
