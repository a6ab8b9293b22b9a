/*
 * Shared declarations of the addon: what one environment (main thread or worker) owns, how
 * arguments come in and results go out. The addon is a thin layer over system calls without
 * protocol logic; `../native.ts` is the contract. Record offsets and sizes (ABI_...) come from
 * `abi.h`, which the build makes out of `assembly/abi.ts`.
 */
#ifndef TSGOST_ADDON_H
#define TSGOST_ADDON_H

#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "abi.h"

/* Bits of a watch, as in native.ts. */
#define READABLE 1u
#define WRITABLE 2u
#define FAILED 4u

#define REGION_MAX 64
#define TUN_MAX 64

struct poll_set;

/* All state of one environment; freed with it. */
typedef struct addon {
  /* The cause of the last packet that tun_write could not write. */
  int last_errno;
  /* Attached memories; a NULL reference is a free place. */
  napi_ref regions[REGION_MAX];
  /* TUN descriptors opened here, plus one (0 is a free place): closed with the environment. */
  int tuns[TUN_MAX];
  struct poll_set *poll;
} addon;

/* A view of an attached memory, valid until the next call into JavaScript. */
typedef struct memory {
  uint8_t *base;
  uint64_t size;
} memory;

/* Whether `len` bytes at `ptr` lie in the memory; address 0 is never valid. */
static inline bool memory_has(const memory *m, uint64_t ptr, uint64_t len) {
  return ptr != 0 && len <= m->size && ptr <= m->size - len;
}

static inline uint32_t load32(const uint8_t *at) {
  uint32_t value;
  memcpy(&value, at, sizeof value);
  return value;
}

static inline uint16_t load16(const uint8_t *at) {
  uint16_t value;
  memcpy(&value, at, sizeof value);
  return value;
}

static inline void store32(uint8_t *at, uint32_t value) {
  memcpy(at, &value, sizeof value);
}

static inline void store16(uint8_t *at, uint16_t value) {
  memcpy(at, &value, sizeof value);
}

/* ---- addon.c: arguments and results ---- */

/*
 * Takes `count` numeric arguments as 32 bits each. False: a TypeError is pending, return NULL.
 * `owner` gets the environment's state.
 */
bool take_numbers(napi_env env, napi_callback_info info, uint32_t *out, size_t count,
                  addon **owner);
/* Takes `count` arguments of any type; a missing one is undefined. */
bool take_values(napi_env env, napi_callback_info info, napi_value *out, size_t count,
                 addon **owner);
/* A string of at most size - 1 bytes; false and a pending error if it is none or too long. */
bool take_string(napi_env env, napi_value value, char *out, size_t size, const char *what);
/* The bytes of a Uint8Array; false and a pending error if it is none. */
bool take_bytes(napi_env env, napi_value value, uint8_t **data, size_t *len);
/* The memory of a region; false if there is no such region or its buffer is detached. */
bool find_memory(napi_env env, addon *owner, uint32_t region, memory *out);

napi_value give_number(napi_env env, int64_t value);
napi_value give_undefined(napi_env env);
/* A new Uint8Array with a copy of the bytes. */
napi_value give_bytes(napi_env env, const void *data, size_t len);
/* Throws an Error with code, errno and syscall; answers NULL. */
napi_value fail(napi_env env, int err, const char *syscall);

void define(napi_env env, napi_value exports, addon *owner, const char *name, napi_callback call);
void define_tun(napi_env env, napi_value exports, addon *owner);
void define_socket(napi_env env, napi_value exports, addon *owner);
void define_udp(napi_env env, napi_value exports, addon *owner);
void define_ping(napi_env env, napi_value exports, addon *owner);
void define_poll(napi_env env, napi_value exports, addon *owner);
void define_netlink(napi_env env, napi_value exports, addon *owner);
void define_notify(napi_env env, napi_value exports, addon *owner);

/* ---- poll.c ---- */

/* Makes the watch of a descriptor that is about to be closed a dead one. */
void poll_forget(addon *owner, int fd);

/* ---- socket.c ---- */

struct sockaddr_storage;
struct msghdr;

/* Fills an address from 4 or 16 bytes; answers its length, 0 for any other family. */
unsigned make_name(struct sockaddr_storage *name, uint32_t family, const uint8_t *address,
                   uint16_t port);
/* Writes 16 bytes of address (IPv4 in the first four) and the port; answers 4, 6, or 0. */
uint32_t read_name(const struct sockaddr_storage *name, uint8_t *address, uint16_t *port);

/* ---- tun.c ---- */

void tun_forget(addon *owner, int fd);
void tun_close_all(addon *owner);

#endif
