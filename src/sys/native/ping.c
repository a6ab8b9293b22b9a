/*
 * ICMP echo upstream, RFC 792 and RFC 4443 §4: requests out and replies in, on a datagram ping
 * socket (the kernel sets the identifier) or a raw one.
 */
#include "addon.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define ICMP_BYTES 8
#define ECHO_REQUEST_4 8
#define ECHO_REPLY_4 0
#define ECHO_REQUEST_6 128
#define ECHO_REPLY_6 129

static uint32_t sum_words(const uint8_t *data, size_t len) {
  uint64_t sum = 0;
  for (size_t i = 0; i + 1 < len; i += 2) sum += (uint32_t)data[i] << 8 | data[i + 1];
  if (len & 1) sum += (uint32_t)data[len - 1] << 8;
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return (uint32_t)sum;
}

static void put16(uint8_t *at, uint32_t value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
}

/* pingSend(region, fd, record, id): 0 or -errno */
static napi_value ping_send(napi_env env, napi_callback_info info) {
  addon *owner;
  uint32_t args[4];
  memory m;
  struct sockaddr_storage name;
  uint8_t header[ICMP_BYTES] = {0};
  if (!take_numbers(env, info, args, 4, &owner)) return NULL;
  if (!find_memory(env, owner, args[0], &m) || !memory_has(&m, args[2], ABI_DGRAM_BYTES)) {
    return give_number(env, -EFAULT);
  }
  const uint8_t *record = m.base + args[2];
  uint32_t ptr = load32(record + ABI_DGRAM_PTR_OFF);
  uint32_t len = load32(record + ABI_DGRAM_LEN_OFF);
  if (!memory_has(&m, ptr, len)) return give_number(env, -EFAULT);
  uint32_t family = load16(record + ABI_DGRAM_FAMILY_OFF);
  unsigned size = make_name(&name, family, record + ABI_DGRAM_FAR_OFF, 0);
  if (size == 0) return give_number(env, -EAFNOSUPPORT);
  header[0] = family == 4 ? ECHO_REQUEST_4 : ECHO_REQUEST_6;
  put16(header + 4, args[3]);
  put16(header + 6, load16(record + ABI_DGRAM_SEQ_OFF));
  if (family == 4) {
    /* The header has even length, so the two sums add up. ICMPv6 sums are the kernel's work. */
    uint32_t sum = sum_words(header, ICMP_BYTES) + sum_words(m.base + ptr, len);
    put16(header + 2, ~((sum & 0xffff) + (sum >> 16)));
  }
  struct iovec parts[2] = {{header, ICMP_BYTES}, {m.base + ptr, len}};
  struct msghdr message;
  memset(&message, 0, sizeof message);
  message.msg_name = &name;
  message.msg_namelen = size;
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  ssize_t sent = sendmsg((int)args[1], &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  return give_number(env, sent >= 0 ? 0 : -errno);
}

/* Length of the IPv4 header that a raw socket puts before the message; 0 if it is none. */
static size_t ip_header(const uint8_t *data, size_t len) {
  if (len < 20 || data[0] >> 4 != 4) return 0;
  size_t bytes = (size_t)(data[0] & 15) * 4;
  return bytes >= 20 && bytes <= len ? bytes : 0;
}

/* Stores an echo reply of `len` bytes at `data` into its record; false if it is something else. */
static bool take_reply(uint8_t *record, uint8_t *data, size_t len, bool raw) {
  uint32_t family = load16(record + ABI_DGRAM_FAMILY_OFF);
  size_t skip = raw && family == 4 ? ip_header(data, len) : 0;
  if (raw && family == 4 && skip == 0) return false;
  if (len - skip < ICMP_BYTES) return false;
  const uint8_t *icmp = data + skip;
  if (icmp[0] != (family == 4 ? ECHO_REPLY_4 : ECHO_REPLY_6) || icmp[1] != 0) return false;
  store16(record + ABI_DGRAM_ID_OFF, (uint16_t)(icmp[4] << 8 | icmp[5]));
  store16(record + ABI_DGRAM_SEQ_OFF, (uint16_t)(icmp[6] << 8 | icmp[7]));
  size_t rest = len - skip - ICMP_BYTES;
  memmove(data, icmp + ICMP_BYTES, rest);
  store32(record + ABI_DGRAM_LEN_OFF, (uint32_t)rest);
  return true;
}

/* pingRecv(region, fd, record): 1, 0, or -errno */
static napi_value ping_recv(napi_env env, napi_callback_info info) {
  addon *owner;
  uint32_t args[3];
  memory m;
  int type = 0;
  socklen_t type_len = sizeof type;
  if (!take_numbers(env, info, args, 3, &owner)) return NULL;
  if (!find_memory(env, owner, args[0], &m) || !memory_has(&m, args[2], ABI_DGRAM_BYTES)) {
    return give_number(env, -EFAULT);
  }
  uint8_t *record = m.base + args[2];
  uint32_t ptr = load32(record + ABI_DGRAM_PTR_OFF);
  if (!memory_has(&m, ptr, ABI_SLOT_BYTES)) return give_number(env, -EFAULT);
  if (getsockopt((int)args[1], SOL_SOCKET, SO_TYPE, &type, &type_len) != 0) {
    return give_number(env, -errno);
  }
  /* A raw socket sees the replies of others too; a bound on what one call looks at. */
  for (int tries = 0; tries < 64; tries++) {
    struct sockaddr_storage name;
    struct iovec part = {m.base + ptr, ABI_SLOT_BYTES};
    struct msghdr message;
    uint16_t port;
    memset(&message, 0, sizeof message);
    message.msg_name = &name;
    message.msg_namelen = sizeof name;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    ssize_t got = recvmsg((int)args[1], &message, MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return give_number(env, errno == EAGAIN ? 0 : -errno);
    uint32_t family = read_name(&name, record + ABI_DGRAM_FAR_OFF, &port);
    store16(record + ABI_DGRAM_FAMILY_OFF, (uint16_t)family);
    store16(record + ABI_DGRAM_PORT_OFF, 0);
    if (take_reply(record, m.base + ptr, (size_t)got, type == SOCK_RAW)) {
      return give_number(env, 1);
    }
  }
  return give_number(env, 0);
}

void define_ping(napi_env env, napi_value exports, addon *owner) {
  define(env, exports, owner, "pingSend", ping_send);
  define(env, exports, owner, "pingRecv", ping_recv);
}
