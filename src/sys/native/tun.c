/*
 * TUN and TAP descriptors: opening, taking over, and batches of packets between a descriptor and a
 * memory. The virtio_net_hdr is part of each packet here; the core reads and writes it.
 */
#include "addon.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sys/uio.h>
#include <unistd.h>

#include "kernel.h"

#define VNET_BYTES 12
#define VNET_SHORT_BYTES 10

/* Switches on the most offloads that the kernel has; answers OFFLOAD_... bits. */
static uint32_t set_offloads(int fd, bool wanted) {
  static const struct {
    unsigned long kernel;
    uint32_t bits;
  } steps[] = {
      {TUN_CSUM | TUN_TSO4 | TUN_TSO6 | TUN_USO4 | TUN_USO6,
       ABI_OFFLOAD_CSUM | ABI_OFFLOAD_TSO4 | ABI_OFFLOAD_TSO6 | ABI_OFFLOAD_USO},
      {TUN_CSUM | TUN_TSO4 | TUN_TSO6, ABI_OFFLOAD_CSUM | ABI_OFFLOAD_TSO4 | ABI_OFFLOAD_TSO6},
      {TUN_CSUM, ABI_OFFLOAD_CSUM},
  };
  for (size_t i = 0; wanted && i < sizeof steps / sizeof steps[0]; i++) {
    if (ioctl(fd, TUN_SET_OFFLOAD, steps[i].kernel) == 0) return steps[i].bits;
  }
  ioctl(fd, TUN_SET_OFFLOAD, 0);
  return 0;
}

/* Settles the header's size: 12 where the kernel agrees. Answers it, or -errno. */
static int settle_header(int fd) {
  int bytes = VNET_BYTES;
  if (ioctl(fd, TUN_SET_VNET_HDR_SIZE, &bytes) == 0) return bytes;
  if (ioctl(fd, TUN_GET_VNET_HDR_SIZE, &bytes) != 0) return VNET_SHORT_BYTES;
  return bytes == VNET_BYTES || bytes == VNET_SHORT_BYTES ? bytes : -EPROTONOSUPPORT;
}

/* The object {fd, name, vnetBytes, offloads}. */
static napi_value give_handle(napi_env env, int fd, const char *name, int vnet, uint32_t offloads) {
  napi_value result;
  napi_value text;
  if (napi_create_object(env, &result) != napi_ok ||
      napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &text) != napi_ok) {
    return NULL;
  }
  napi_set_named_property(env, result, "fd", give_number(env, fd));
  napi_set_named_property(env, result, "name", text);
  napi_set_named_property(env, result, "vnetBytes", give_number(env, vnet));
  napi_set_named_property(env, result, "offloads", give_number(env, offloads));
  return result;
}

static bool option_set(napi_env env, napi_value object, const char *name) {
  napi_value value;
  bool set = false;
  if (napi_get_named_property(env, object, name, &value) != napi_ok) return false;
  return napi_get_value_bool(env, value, &set) == napi_ok && set;
}

static napi_value close_and_fail(napi_env env, int fd, int err, const char *syscall) {
  close(fd);
  return fail(env, err, syscall);
}

/* tunOpen({name, vnet, multiQueue, tap}): TunHandle */
static napi_value tun_open(napi_env env, napi_callback_info info) {
  addon *owner;
  napi_value options;
  napi_value text;
  struct ifreq request;
  memset(&request, 0, sizeof request);
  if (!take_values(env, info, &options, 1, &owner)) return NULL;
  if (napi_get_named_property(env, options, "name", &text) != napi_ok) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "tunOpen expects options");
    return NULL;
  }
  if (!take_string(env, text, request.ifr_name, IFNAMSIZ, "ioctl TUNSETIFF")) return NULL;
  size_t place = 0;
  while (place < TUN_MAX && owner->tuns[place] != 0) place++;
  if (place == TUN_MAX) return fail(env, EMFILE, "open /dev/net/tun");
  bool vnet = option_set(env, options, "vnet");
  int flags = option_set(env, options, "tap") ? TUN_IFF_TAP : TUN_IFF_TUN;
  flags |= TUN_IFF_NO_PI;
  if (vnet) flags |= TUN_IFF_VNET_HDR;
  if (option_set(env, options, "multiQueue")) flags |= TUN_IFF_MULTI_QUEUE;
  request.ifr_flags = (short)flags;

  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return fail(env, errno, "open /dev/net/tun");
  if (ioctl(fd, TUN_SET_IFF, &request) != 0) {
    return close_and_fail(env, fd, errno, "ioctl TUNSETIFF");
  }
  int header = vnet ? settle_header(fd) : 0;
  if (header < 0) return close_and_fail(env, fd, -header, "ioctl TUNSETVNETHDRSZ");
  uint32_t offloads = set_offloads(fd, vnet);
  owner->tuns[place] = fd + 1;
  request.ifr_name[IFNAMSIZ - 1] = 0;
  return give_handle(env, fd, request.ifr_name, header, offloads);
}

/* tunAttach(fd, vnet): TunHandle; the descriptor stays the caller's if this throws. */
static napi_value tun_attach(napi_env env, napi_callback_info info) {
  addon *owner;
  napi_value values[2];
  int32_t fd;
  bool vnet = false;
  struct ifreq request;
  memset(&request, 0, sizeof request);
  if (!take_values(env, info, values, 2, &owner)) return NULL;
  if (napi_get_value_int32(env, values[0], &fd) != napi_ok ||
      napi_get_value_bool(env, values[1], &vnet) != napi_ok) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "tunAttach expects (number, boolean)");
    return NULL;
  }
  if (ioctl(fd, TUN_GET_IFF, &request) != 0) return fail(env, errno, "ioctl TUNGETIFF");
  int flags = (unsigned short)request.ifr_flags;
  if ((flags & TUN_IFF_NO_PI) == 0) return fail(env, EPROTONOSUPPORT, "tun without IFF_NO_PI");
  int status = fcntl(fd, F_GETFL);
  if (status < 0 || fcntl(fd, F_SETFL, status | O_NONBLOCK) != 0 ||
      fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
    return fail(env, errno, "fcntl");
  }
  int header = 0;
  uint32_t offloads = 0;
  if ((flags & TUN_IFF_VNET_HDR) != 0) {
    header = settle_header(fd);
    if (header < 0) return fail(env, -header, "ioctl TUNGETVNETHDRSZ");
    offloads = set_offloads(fd, vnet);
  }
  request.ifr_name[IFNAMSIZ - 1] = 0;
  return give_handle(env, fd, request.ifr_name, header, offloads);
}

void tun_forget(addon *owner, int fd) {
  for (size_t i = 0; i < TUN_MAX; i++) {
    if (owner->tuns[i] == fd + 1) owner->tuns[i] = 0;
  }
}

void tun_close_all(addon *owner) {
  for (size_t i = 0; i < TUN_MAX; i++) {
    if (owner->tuns[i] != 0) close(owner->tuns[i] - 1);
    owner->tuns[i] = 0;
  }
}

/* tunRead(region, fd, rxPtr, max): number */
static napi_value tun_read(napi_env env, napi_callback_info info) {
  addon *owner;
  uint32_t args[4];
  memory m;
  if (!take_numbers(env, info, args, 4, &owner)) return NULL;
  int fd = (int)args[1];
  uint64_t max = args[3];
  if (max > ABI_RX_MAX) max = ABI_RX_MAX;
  if (!find_memory(env, owner, args[0], &m) ||
      !memory_has(&m, args[2], max * ABI_RX_ENTRY_BYTES)) {
    return give_number(env, -EFAULT);
  }
  for (uint32_t i = 0; i < max; i++) {
    uint8_t *entry = m.base + args[2] + i * ABI_RX_ENTRY_BYTES;
    uint32_t ptr = load32(entry);
    if (!memory_has(&m, ptr, ABI_SLOT_BYTES)) return give_number(env, i > 0 ? (int64_t)i : -EFAULT);
    ssize_t len;
    do {
      len = read(fd, m.base + ptr, ABI_SLOT_BYTES);
    } while (len < 0 && errno == EINTR);
    if (len < 0 && (i > 0 || errno == EAGAIN)) return give_number(env, i);
    if (len < 0) return give_number(env, -errno);
    /* End of file: not a device. */
    if (len == 0) return give_number(env, i > 0 ? (int64_t)i : -EBADFD);
    store32(entry + 4, (uint32_t)len);
  }
  return give_number(env, (int64_t)max);
}

/* Writes one TX descriptor; answers 0 or an errno. */
static int write_packet(const memory *m, int fd, const uint8_t *tx) {
  struct iovec parts[ABI_TX_SPAN_MAX + 1];
  uint32_t header = load32(tx + ABI_TX_HEADER_PTR_OFF);
  uint32_t header_len = load16(tx + ABI_TX_HEADER_LEN_OFF);
  uint32_t spans = load16(tx + ABI_TX_SPAN_COUNT_OFF);
  if (spans > ABI_TX_SPAN_MAX || !memory_has(m, header, header_len)) return EFAULT;
  parts[0].iov_base = m->base + header;
  parts[0].iov_len = header_len;
  size_t total = header_len;
  for (uint32_t i = 0; i < spans; i++) {
    const uint8_t *span = tx + ABI_TX_SPANS_OFF + i * ABI_SPAN_BYTES;
    uint32_t ptr = load32(span);
    uint32_t len = load32(span + 4);
    if (!memory_has(m, ptr, len)) return EFAULT;
    parts[i + 1].iov_base = m->base + ptr;
    parts[i + 1].iov_len = len;
    total += len;
  }
  ssize_t done;
  do {
    done = writev(fd, parts, (int)spans + 1);
  } while (done < 0 && errno == EINTR);
  if (done < 0) return errno;
  return (size_t)done == total ? 0 : EMSGSIZE;
}

/* tunWrite(region, fd, txPtr, count): number of packets that failed, or -EFAULT */
static napi_value tun_write(napi_env env, napi_callback_info info) {
  addon *owner;
  uint32_t args[4];
  memory m;
  if (!take_numbers(env, info, args, 4, &owner)) return NULL;
  if (!find_memory(env, owner, args[0], &m) ||
      !memory_has(&m, args[2], (uint64_t)args[3] * ABI_TX_BYTES)) {
    owner->last_errno = EFAULT;
    return give_number(env, -EFAULT);
  }
  uint32_t failed = 0;
  for (uint32_t i = 0; i < args[3]; i++) {
    const uint8_t *tx = m.base + args[2] + (size_t)i * ABI_TX_BYTES;
    int err = write_packet(&m, (int)args[1], tx);
    if (err == 0) continue;
    owner->last_errno = err;
    failed++;
  }
  return give_number(env, failed);
}

void define_tun(napi_env env, napi_value exports, addon *owner) {
  define(env, exports, owner, "tunOpen", tun_open);
  define(env, exports, owner, "tunAttach", tun_attach);
  define(env, exports, owner, "tunRead", tun_read);
  define(env, exports, owner, "tunWrite", tun_write);
}
