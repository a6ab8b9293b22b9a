/*
 * Carries netlink messages between JavaScript, which builds and reads them, and the kernel; and the
 * two calls around network devices and namespaces that have no message.
 */
#include "addon.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "kernel.h"

#define WAIT_MS 2000
#define READ_BYTES 65536
/* Most bytes of all answers to one request: some 30,000 routes. */
#define ANSWER_BYTES_MAX (4u << 20)

/* A bound netlink socket, or -errno. */
static int open_netlink(uint32_t groups, int flags) {
  struct kernel_sockaddr_nl name = {.family = AF_NETLINK, .groups = groups};
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | flags, KERNEL_NETLINK_ROUTE);
  if (fd < 0) return -errno;
  if (bind(fd, (struct sockaddr *)&name, sizeof name) == 0) return fd;
  int err = errno;
  close(fd);
  return -err;
}

static int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* One message from the kernel itself; bytes, 0 if it was another sender's, or -errno. */
static ssize_t read_kernel(int fd, void *data, size_t size, int flags) {
  struct kernel_sockaddr_nl from = {0};
  struct iovec part = {data, size};
  struct msghdr message;
  memset(&message, 0, sizeof message);
  message.msg_name = &from;
  message.msg_namelen = sizeof from;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  ssize_t got;
  do {
    got = recvmsg(fd, &message, flags);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return -errno;
  if (message.msg_flags & MSG_TRUNC) return -EMSGSIZE;
  return from.pid == 0 ? got : 0;
}

/* Whether the messages hold the end of the answer to `seq`. */
static bool has_end(const uint8_t *data, size_t len, uint32_t seq) {
  struct kernel_nlmsghdr h;
  while (len >= sizeof h) {
    memcpy(&h, data, sizeof h);
    if (h.len < sizeof h || h.len > len) return false;
    if (h.seq == seq && (h.type == KERNEL_NLMSG_ERROR || h.type == KERNEL_NLMSG_DONE)) return true;
    size_t step = ((size_t)h.len + 3) & ~(size_t)3;
    if (step >= len) return false;
    data += step;
    len -= step;
  }
  return false;
}

/* Collects answers until the end; 0 or an errno. The caller frees *out. */
static int collect_answers(int fd, uint32_t seq, uint8_t **out, size_t *out_len) {
  size_t room = READ_BYTES;
  size_t len = 0;
  int64_t deadline = now_ms() + WAIT_MS;
  uint8_t *data = malloc(room);
  *out = data;
  if (data == NULL) return ENOMEM;
  for (;;) {
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    int64_t left = deadline - now_ms();
    int ready = left <= 0 ? 0 : poll(&wait, 1, (int)left);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return ready == 0 ? ETIMEDOUT : errno;
    if (room - len < READ_BYTES) {
      room *= 2;
      if (room > ANSWER_BYTES_MAX) return ENOBUFS;
      uint8_t *larger = realloc(data, room);
      if (larger == NULL) return ENOMEM;
      data = larger;
      *out = data;
    }
    ssize_t got = read_kernel(fd, data + len, room - len, MSG_DONTWAIT);
    if (got == -EAGAIN) continue;
    if (got < 0) return (int)-got;
    len += (size_t)got;
    *out_len = len;
    if (has_end(data + len - got, (size_t)got, seq)) return 0;
  }
}

/* netlink(request): Uint8Array; the request must ask for an acknowledgement or be a dump. */
static napi_value netlink(napi_env env, napi_callback_info info) {
  addon *owner;
  napi_value value;
  uint8_t *request;
  size_t len;
  struct kernel_nlmsghdr h;
  uint8_t *answer = NULL;
  size_t answer_len = 0;
  napi_value result;
  int one = 1;
  if (!take_values(env, info, &value, 1, &owner)) return NULL;
  if (!take_bytes(env, value, &request, &len)) return NULL;
  if (len < sizeof h) return fail(env, EINVAL, "netlink");
  memcpy(&h, request, sizeof h);
  if (h.len != len) return fail(env, EINVAL, "netlink");
  int fd = open_netlink(0, 0);
  if (fd < 0) return fail(env, -fd, "socket AF_NETLINK");
  setsockopt(fd, KERNEL_SOL_NETLINK, KERNEL_NETLINK_EXT_ACK, &one, sizeof one);
  setsockopt(fd, KERNEL_SOL_NETLINK, KERNEL_NETLINK_CAP_ACK, &one, sizeof one);
  ssize_t sent = send(fd, request, len, MSG_NOSIGNAL);
  int err = sent < 0 ? errno : collect_answers(fd, h.seq, &answer, &answer_len);
  close(fd);
  result = err == 0 ? give_bytes(env, answer, answer_len) : fail(env, err, "netlink");
  free(answer);
  return result;
}

/* netlinkMonitor(groups): fd */
static napi_value netlink_monitor(napi_env env, napi_callback_info info) {
  addon *owner;
  uint32_t groups;
  if (!take_numbers(env, info, &groups, 1, &owner)) return NULL;
  int fd = open_netlink(groups, SOCK_NONBLOCK);
  if (fd < 0) return fail(env, -fd, "socket AF_NETLINK");
  return give_number(env, fd);
}

/*
 * netlinkRead(fd): the next messages; undefined if there are none; empty if the kernel had to drop
 * some, so that the reader asks for the present state.
 */
static napi_value netlink_read(napi_env env, napi_callback_info info) {
  addon *owner;
  uint32_t fd;
  if (!take_numbers(env, info, &fd, 1, &owner)) return NULL;
  uint8_t *data = malloc(READ_BYTES);
  if (data == NULL) return fail(env, ENOMEM, "netlink");
  ssize_t got = read_kernel((int)fd, data, READ_BYTES, MSG_DONTWAIT);
  napi_value result;
  if (got == -EAGAIN) result = give_undefined(env);
  else if (got >= 0 || got == -ENOBUFS || got == -EMSGSIZE) {
    result = give_bytes(env, data, got > 0 ? (size_t)got : 0);
  } else result = fail(env, (int)-got, "recvmsg AF_NETLINK");
  free(data);
  return result;
}

/* ifIndex(name): number, 0 if there is no such device */
static napi_value if_index(napi_env env, napi_callback_info info) {
  addon *owner;
  napi_value value;
  char name[IFNAMSIZ];
  if (!take_values(env, info, &value, 1, &owner)) return NULL;
  if (!take_string(env, value, name, sizeof name, "if_nametoindex")) return NULL;
  return give_number(env, if_nametoindex(name));
}

/* setNetns(path): void; the calling thread alone moves */
static napi_value set_netns(napi_env env, napi_callback_info info) {
  addon *owner;
  napi_value value;
  char path[4096];
  if (!take_values(env, info, &value, 1, &owner)) return NULL;
  if (!take_string(env, value, path, sizeof path, "open")) return NULL;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail(env, errno, "open");
  int err = setns(fd, CLONE_NEWNET) == 0 ? 0 : errno;
  close(fd);
  return err == 0 ? NULL : fail(env, err, "setns");
}

void define_netlink(napi_env env, napi_value exports, addon *owner) {
  define(env, exports, owner, "netlink", netlink);
  define(env, exports, owner, "netlinkMonitor", netlink_monitor);
  define(env, exports, owner, "netlinkRead", netlink_read);
  define(env, exports, owner, "ifIndex", if_index);
  define(env, exports, owner, "setNetns", set_netns);
}
