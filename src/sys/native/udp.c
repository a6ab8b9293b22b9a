/*
 * UDP in batches: datagram records (abi.ts DGRAM_...) to sendmmsg with UDP_SEGMENT, recvmmsg with
 * UDP_GRO to records, and the error queue. A record with a segment size is several datagrams; a
 * kernel or device without UDP_SEGMENT gets them one by one.
 */
#include "addon.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "kernel.h"

#define BATCH_MAX 64
#define UDP_BYTES_MAX 65507u

typedef union control {
  struct cmsghdr header;
  char room[CMSG_SPACE(sizeof(int))];
} control;

/* One message of a batch: a record, or a part of one with more segments than a send may have. */
typedef struct batch {
  uint32_t count;
  struct mmsghdr messages[BATCH_MAX];
  struct iovec parts[BATCH_MAX];
  struct sockaddr_storage names[BATCH_MAX];
  control controls[BATCH_MAX];
  uint16_t segments[BATCH_MAX];
  /* Index of the record after the one this message belongs to, if it is that record's last. */
  uint32_t done[BATCH_MAX];
} batch;

static void add_message(batch *b, uint8_t *data, size_t len, uint16_t segment) {
  uint32_t i = b->count++;
  struct msghdr *h = &b->messages[i].msg_hdr;
  b->parts[i].iov_base = data;
  b->parts[i].iov_len = len;
  b->segments[i] = segment;
  h->msg_iov = &b->parts[i];
  h->msg_iovlen = 1;
  if (segment == 0) return;
  h->msg_control = b->controls[i].room;
  h->msg_controllen = CMSG_SPACE(sizeof segment);
  struct cmsghdr *c = CMSG_FIRSTHDR(h);
  c->cmsg_level = KERNEL_SOL_UDP;
  c->cmsg_type = KERNEL_UDP_SEGMENT;
  c->cmsg_len = CMSG_LEN(sizeof segment);
  memcpy(CMSG_DATA(c), &segment, sizeof segment);
}

/* Bytes of one message of a record with this segment size. */
static uint32_t piece_of(uint32_t segment) {
  uint32_t count = UDP_BYTES_MAX / segment;
  if (count > KERNEL_UDP_SEGMENTS_MAX) count = KERNEL_UDP_SEGMENTS_MAX;
  return (count == 0 ? 1 : count) * segment;
}

/* Adds a record's messages; 0, -ENOBUFS if they do not fit any more, or an errno of the record. */
static int add_record(batch *b, const memory *m, const uint8_t *record, uint32_t next) {
  struct sockaddr_storage name;
  uint32_t ptr = load32(record + ABI_DGRAM_PTR_OFF);
  uint32_t len = load32(record + ABI_DGRAM_LEN_OFF);
  uint32_t segment = load32(record + ABI_DGRAM_GSO_OFF);
  if (!memory_has(m, ptr, len)) return EFAULT;
  unsigned size = make_name(&name, load16(record + ABI_DGRAM_FAMILY_OFF),
                            record + ABI_DGRAM_FAR_OFF, load16(record + ABI_DGRAM_PORT_OFF));
  if (size == 0) return EAFNOSUPPORT;
  if (len > ABI_SLOT_BYTES || segment > 65535) return EMSGSIZE;
  bool split = segment != 0 && segment < len;
  uint32_t piece = split ? piece_of(segment) : len;
  uint32_t needed = len == 0 ? 1 : (len + piece - 1) / piece;
  if (needed > BATCH_MAX && b->count == 0) return EMSGSIZE;
  if (needed > BATCH_MAX - b->count) return -ENOBUFS;
  uint32_t off = 0;
  do {
    uint32_t part = len - off < piece ? len - off : piece;
    uint32_t i = b->count;
    memset(&b->messages[i], 0, sizeof b->messages[i]);
    add_message(b, m->base + ptr + off, part, split && part > segment ? (uint16_t)segment : 0);
    b->names[i] = name;
    b->messages[i].msg_hdr.msg_name = &b->names[i];
    b->messages[i].msg_hdr.msg_namelen = size;
    off += part;
    b->done[i] = off >= len ? next : 0;
  } while (off < len);
  return 0;
}

/* Sends a message with a segment size as single datagrams; 0 or an errno if none went out. */
static int send_split(int fd, batch *b, uint32_t i) {
  struct msghdr h = b->messages[i].msg_hdr;
  uint8_t *data = b->parts[i].iov_base;
  size_t left = b->parts[i].iov_len;
  bool any = false;
  h.msg_control = NULL;
  h.msg_controllen = 0;
  while (left > 0) {
    struct iovec part = {data, left < b->segments[i] ? left : b->segments[i]};
    h.msg_iov = &part;
    if (sendmsg(fd, &h, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) return any ? 0 : errno;
    any = true;
    data += part.iov_len;
    left -= part.iov_len;
  }
  return 0;
}

/* Whether an error of a send may belong to an earlier datagram (the error queue has it then). */
static bool may_be_older(int err) {
  return err == ECONNREFUSED || err == EHOSTUNREACH || err == ENETUNREACH || err == EPROTO ||
         err == EACCES || err == EMSGSIZE || err == ENOPROTOOPT || err == EHOSTDOWN;
}

/* The message that sendmmsg refused, once more on its own; 0 or an errno. */
static int send_again(int fd, batch *b, uint32_t i, int err) {
  if (err == EAGAIN) return err;
  if (may_be_older(err)) {
    if (sendmsg(fd, &b->messages[i].msg_hdr, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return 0;
    err = errno;
  }
  bool unable = err == EINVAL || err == EIO || err == EMSGSIZE || err == EOPNOTSUPP;
  return b->segments[i] != 0 && unable ? send_split(fd, b, i) : err;
}

/* Sends a batch; records done so far in `done`; 0 or the errno that stopped it. */
static int send_batch(int fd, batch *b, uint32_t *done) {
  uint32_t at = 0;
  while (at < b->count) {
    int sent = sendmmsg(fd, b->messages + at, b->count - at, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    int err = sent < 0 ? send_again(fd, b, at, errno) : 0;
    /* The head of a record went out already: the rest of it is lost, as datagrams may be. */
    if (err != 0 && at > 0 && b->done[at - 1] == 0) err = 0;
    if (err != 0) return err;
    for (int i = 0; i < (sent < 0 ? 1 : sent); i++, at++) {
      if (b->done[at] != 0) *done = b->done[at];
    }
  }
  return 0;
}

/* udpSend(region, fd, records, count): records taken, or -errno */
static napi_value udp_send(napi_env env, napi_callback_info info) {
  addon *owner;
  uint32_t args[4];
  memory m;
  batch b;
  if (!take_numbers(env, info, args, 4, &owner)) return NULL;
  uint32_t total = args[3];
  if (!find_memory(env, owner, args[0], &m) ||
      !memory_has(&m, args[2], (uint64_t)total * ABI_DGRAM_BYTES)) {
    return give_number(env, -EFAULT);
  }
  uint32_t done = 0;
  int err = 0;
  while (done < total && err == 0) {
    uint32_t next = done;
    b.count = 0;
    while (next < total && b.count < BATCH_MAX && err == 0) {
      const uint8_t *record = m.base + args[2] + (size_t)next * ABI_DGRAM_BYTES;
      err = add_record(&b, &m, record, next + 1);
      if (err == 0) next++;
    }
    int stopped = b.count == 0 ? 0 : send_batch((int)args[1], &b, &done);
    if (err == -ENOBUFS) err = 0;
    if (stopped != 0) err = stopped;
  }
  return give_number(env, done > 0 || err == 0 ? (int64_t)done : -err);
}

/* The segment size of what was received, 0 if it is one datagram. */
static uint32_t gro_of(struct msghdr *h, size_t len) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c != NULL; c = CMSG_NXTHDR(h, c)) {
    if (c->cmsg_level != KERNEL_SOL_UDP || c->cmsg_type != KERNEL_UDP_GRO) continue;
    int size;
    memcpy(&size, CMSG_DATA(c), sizeof size);
    return size > 0 && (size_t)size < len ? (uint32_t)size : 0;
  }
  return 0;
}

/* udpRecv(region, fd, records, max): count, 0, or -errno */
static napi_value udp_recv(napi_env env, napi_callback_info info) {
  addon *owner;
  uint32_t args[4];
  memory m;
  batch b;
  if (!take_numbers(env, info, args, 4, &owner)) return NULL;
  uint32_t max = args[3] > BATCH_MAX ? BATCH_MAX : args[3];
  if (!find_memory(env, owner, args[0], &m) ||
      !memory_has(&m, args[2], (uint64_t)max * ABI_DGRAM_BYTES)) {
    return give_number(env, -EFAULT);
  }
  for (uint32_t i = 0; i < max; i++) {
    uint32_t ptr = load32(m.base + args[2] + (size_t)i * ABI_DGRAM_BYTES + ABI_DGRAM_PTR_OFF);
    if (!memory_has(&m, ptr, ABI_SLOT_BYTES)) return give_number(env, -EFAULT);
    struct msghdr *h = &b.messages[i].msg_hdr;
    memset(&b.messages[i], 0, sizeof b.messages[i]);
    b.parts[i].iov_base = m.base + ptr;
    b.parts[i].iov_len = ABI_SLOT_BYTES;
    h->msg_iov = &b.parts[i];
    h->msg_iovlen = 1;
    h->msg_name = &b.names[i];
    h->msg_namelen = sizeof b.names[i];
    h->msg_control = b.controls[i].room;
    h->msg_controllen = sizeof b.controls[i].room;
  }
  int got;
  do {
    got = recvmmsg((int)args[1], b.messages, max, MSG_DONTWAIT, NULL);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return give_number(env, errno == EAGAIN ? 0 : -errno);
  for (int i = 0; i < got; i++) {
    uint8_t *record = m.base + args[2] + (size_t)i * ABI_DGRAM_BYTES;
    uint32_t len = b.messages[i].msg_len;
    uint16_t port;
    uint32_t family = read_name(&b.names[i], record + ABI_DGRAM_FAR_OFF, &port);
    store32(record + ABI_DGRAM_LEN_OFF, len);
    store32(record + ABI_DGRAM_GSO_OFF, gro_of(&b.messages[i].msg_hdr, len));
    store16(record + ABI_DGRAM_FAMILY_OFF, (uint16_t)family);
    store16(record + ABI_DGRAM_PORT_OFF, port);
  }
  return give_number(env, got);
}

/* The extended error among the control messages; false if there is none worth telling. */
static bool find_error(struct msghdr *h, struct kernel_extended_err *out) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c != NULL; c = CMSG_NXTHDR(h, c)) {
    bool mine = (c->cmsg_level == IPPROTO_IP && c->cmsg_type == KERNEL_IP_RECVERR) ||
                (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == KERNEL_IPV6_RECVERR);
    if (!mine || c->cmsg_len < CMSG_LEN(sizeof *out)) continue;
    memcpy(out, CMSG_DATA(c), sizeof *out);
    return out->origin >= KERNEL_ORIGIN_LOCAL && out->origin <= KERNEL_ORIGIN_ICMP6;
  }
  return false;
}

/* udpError(fd): UdpError or undefined */
static napi_value udp_error(napi_env env, napi_callback_info info) {
  addon *owner;
  uint32_t fd;
  struct kernel_extended_err extended;
  struct sockaddr_storage name;
  char room[512];
  uint8_t address[16];
  uint16_t port;
  napi_value result;
  if (!take_numbers(env, info, &fd, 1, &owner)) return NULL;
  for (;;) {
    struct msghdr h;
    memset(&h, 0, sizeof h);
    memset(&name, 0, sizeof name);
    h.msg_name = &name;
    h.msg_namelen = sizeof name;
    h.msg_control = room;
    h.msg_controllen = sizeof room;
    ssize_t got = recvmsg((int)fd, &h, MSG_ERRQUEUE | MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return give_undefined(env);
    if (find_error(&h, &extended)) break;
  }
  uint32_t family = read_name(&name, address, &port);
  if (family == 0) family = extended.origin == KERNEL_ORIGIN_ICMP6 ? 6 : 4;
  if (napi_create_object(env, &result) != napi_ok) return NULL;
  napi_set_named_property(env, result, "errno", give_number(env, extended.err));
  napi_set_named_property(env, result, "origin", give_number(env, extended.origin));
  napi_set_named_property(env, result, "info",
                          give_number(env, extended.err == EMSGSIZE ? extended.info : 0));
  napi_set_named_property(env, result, "family", give_number(env, family));
  napi_set_named_property(env, result, "address", give_bytes(env, address, family == 4 ? 4 : 16));
  napi_set_named_property(env, result, "port", give_number(env, port));
  return result;
}

void define_udp(napi_env env, napi_value exports, addon *owner) {
  define(env, exports, owner, "udpSend", udp_send);
  define(env, exports, owner, "udpRecv", udp_recv);
  define(env, exports, owner, "udpError", udp_error);
}
