/*
 * Readiness. One epoll descriptor an environment holds all watched descriptors, and Node's loop
 * polls that one descriptor: so a loop turn costs one callback into JavaScript whatever the
 * number of ready descriptors, a changed watch costs one system call, and a new one does too.
 * Events are level triggered: what does not fit into the list comes in the next turn.
 *
 * A watch is named by a token (place and generation), never by its descriptor alone. Closing a
 * descriptor through the addon kills its watch, so a number that the kernel gives out again cannot
 * reach the old owner; events carry the generation for the same reason.
 */
#include "addon.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "uv.h"

#define BATCH_MAX 256
#define INDEX_BITS 20
#define INDEX_MASK ((1u << INDEX_BITS) - 1)
#define GENERATION_MASK ((1u << (32 - INDEX_BITS)) - 1)
#define NONE (-1)

typedef struct watch {
  /* -1: the descriptor was closed, or the place is free. */
  int fd;
  int32_t id;
  uint32_t wanted;
  uint32_t generation;
  int32_t next_free;
  bool open;
} watch;

typedef struct poll_set {
  napi_env env;
  int epoll;
  uv_handle *handle;
  watch *watches;
  uint32_t size;
  int32_t first_free;
  /* Place of the watch of each descriptor, or NONE. */
  int32_t *places;
  uint32_t place_count;
  /* Watches that want something; the loop stays alive for these only. */
  uint32_t armed;
  napi_ref list;
  napi_ref handler;
  napi_async_context context;
  napi_async_cleanup_hook_handle hook;
} poll_set;

static void free_set(poll_set *set) {
  if (set->epoll >= 0) close(set->epoll);
  free(set->handle);
  free(set->watches);
  free(set->places);
  free(set);
}

static void on_closed(uv_handle *handle) {
  poll_set *set = uv_handle_get_data(handle);
  napi_async_cleanup_hook_handle hook = set->hook;
  free_set(set);
  napi_remove_async_cleanup_hook(hook);
}

/* The environment ends: no more callbacks, then the handle closes, then the memory goes. */
static void on_cleanup(napi_async_cleanup_hook_handle hook, void *data) {
  addon *owner = data;
  poll_set *set = owner->poll;
  owner->poll = NULL;
  set->hook = hook;
  if (set->list != NULL) napi_delete_reference(set->env, set->list);
  if (set->handler != NULL) napi_delete_reference(set->env, set->handler);
  napi_async_destroy(set->env, set->context);
  uv_close(set->handle, on_closed);
}

static uint32_t bits_of(uint32_t events) {
  uint32_t bits = 0;
  if (events & EPOLLIN) bits |= READABLE;
  if (events & EPOLLOUT) bits |= WRITABLE;
  if (events & EPOLLERR) bits |= FAILED;
  if ((events & EPOLLHUP) && !(events & EPOLLIN)) bits |= FAILED;
  return bits;
}

/* Fills the list with {id, bits} pairs; answers how many. */
static uint32_t collect(poll_set *set, int32_t *list, size_t pairs) {
  struct epoll_event ready[BATCH_MAX];
  int max = pairs < BATCH_MAX ? (int)pairs : BATCH_MAX;
  if (max == 0) return 0;
  int got = epoll_wait(set->epoll, ready, max, 0);
  uint32_t count = 0;
  for (int i = 0; i < got; i++) {
    uint32_t index = (uint32_t)ready[i].data.u64;
    if (index >= set->size) continue;
    watch *w = &set->watches[index];
    if (!w->open || w->generation != (uint32_t)(ready[i].data.u64 >> 32)) continue;
    list[2 * count] = w->id;
    list[2 * count + 1] = (int32_t)bits_of(ready[i].events);
    count++;
  }
  return count;
}

static void report_exception(napi_env env) {
  napi_value error;
  bool pending = false;
  if (napi_is_exception_pending(env, &pending) != napi_ok || !pending) return;
  if (napi_get_and_clear_last_exception(env, &error) == napi_ok) napi_fatal_exception(env, error);
}

static void dispatch(poll_set *set) {
  napi_value list;
  napi_value handler;
  napi_value global;
  napi_value count;
  napi_typedarray_type type;
  size_t length = 0;
  void *data = NULL;
  if (napi_get_reference_value(set->env, set->list, &list) != napi_ok ||
      napi_get_reference_value(set->env, set->handler, &handler) != napi_ok ||
      napi_get_typedarray_info(set->env, list, &type, &length, &data, NULL, NULL) != napi_ok ||
      data == NULL || napi_get_global(set->env, &global) != napi_ok) {
    return;
  }
  uint32_t pairs = collect(set, data, length / 2);
  if (pairs == 0 || napi_create_uint32(set->env, pairs, &count) != napi_ok) return;
  napi_make_callback(set->env, set->context, global, handler, 1, &count, NULL);
  report_exception(set->env);
}

static void on_readable(uv_handle *handle, int status, int events) {
  (void)events;
  poll_set *set = uv_handle_get_data(handle);
  napi_handle_scope scope;
  if (status < 0) return;
  if (napi_open_handle_scope(set->env, &scope) != napi_ok) return;
  dispatch(set);
  napi_close_handle_scope(set->env, scope);
}

/* The last steps of making the set: Node's side of it. Answers 0 or an errno. */
static int join_loop(napi_env env, addon *owner, poll_set *set) {
  struct uv_loop_s *loop;
  napi_value name;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) return EINVAL;
  if (napi_create_string_utf8(env, "tsgost:poll", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_async_init(env, NULL, name, &set->context) != napi_ok) {
    return EINVAL;
  }
  int err = uv_poll_init(loop, set->handle, set->epoll);
  if (err != 0) {
    napi_async_destroy(env, set->context);
    return -err;
  }
  uv_handle_set_data(set->handle, set);
  uv_unref(set->handle);
  owner->poll = set;
  napi_add_async_cleanup_hook(env, on_cleanup, owner, &set->hook);
  return 0;
}

/* The environment's set, made at the first use; NULL and a pending error if that failed. */
static poll_set *take_set(napi_env env, addon *owner) {
  if (owner->poll != NULL) return owner->poll;
  poll_set *set = calloc(1, sizeof *set);
  if (set == NULL) return (poll_set *)fail(env, ENOMEM, "calloc");
  set->env = env;
  set->first_free = NONE;
  set->epoll = epoll_create1(EPOLL_CLOEXEC);
  set->handle = calloc(1, uv_handle_size(UV_POLL_TYPE));
  int err = set->epoll < 0 ? errno : set->handle == NULL ? ENOMEM : join_loop(env, owner, set);
  if (err == 0) return set;
  free_set(set);
  fail(env, err, "epoll_create");
  return NULL;
}

static bool grow_places(poll_set *set, uint32_t fd) {
  if (fd < set->place_count) return true;
  uint32_t count = set->place_count == 0 ? 256 : set->place_count;
  while (count <= fd) count *= 2;
  int32_t *places = realloc(set->places, count * sizeof *places);
  if (places == NULL) return false;
  for (uint32_t i = set->place_count; i < count; i++) places[i] = NONE;
  set->places = places;
  set->place_count = count;
  return true;
}

static bool grow_watches(poll_set *set) {
  if (set->first_free != NONE) return true;
  if (set->size > INDEX_MASK / 2) return false;
  uint32_t size = set->size == 0 ? 256 : set->size * 2;
  watch *watches = realloc(set->watches, size * sizeof *watches);
  if (watches == NULL) return false;
  memset(watches + set->size, 0, (size - set->size) * sizeof *watches);
  for (uint32_t i = size; i > set->size; i--) {
    watches[i - 1].fd = -1;
    watches[i - 1].next_free = set->first_free;
    set->first_free = (int32_t)(i - 1);
  }
  set->watches = watches;
  set->size = size;
  return true;
}

/* Makes the kernel's idea of a watch equal to `wanted`; answers 0 or an errno. */
static int change(poll_set *set, watch *w, uint32_t wanted) {
  if (w->fd < 0 || wanted == w->wanted) return 0;
  struct epoll_event event;
  event.events = 0;
  if (wanted & READABLE) event.events |= EPOLLIN;
  if (wanted & WRITABLE) event.events |= EPOLLOUT;
  event.data.u64 = (uint64_t)w->generation << 32 | (uint32_t)(w - set->watches);
  int op = w->wanted == 0 ? EPOLL_CTL_ADD : wanted == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
  int err = epoll_ctl(set->epoll, op, w->fd, &event) == 0 ? 0 : errno;
  /* Somebody closed the descriptor behind our back: nothing is left to take out. */
  if (op == EPOLL_CTL_DEL) err = 0;
  if (err != 0) return err;
  if (w->wanted == 0) set->armed++;
  if (wanted == 0) set->armed--;
  w->wanted = wanted;
  if (set->armed == 0) uv_unref(set->handle);
  else uv_ref(set->handle);
  return 0;
}

/* Ends the tie between a watch and its descriptor. */
static void untie(poll_set *set, watch *w) {
  if (w->fd < 0) return;
  change(set, w, 0);
  set->places[w->fd] = NONE;
  w->fd = -1;
}

void poll_forget(addon *owner, int fd) {
  poll_set *set = owner->poll;
  if (set == NULL || fd < 0 || (uint32_t)fd >= set->place_count || set->places[fd] == NONE) return;
  untie(set, &set->watches[set->places[fd]]);
}

/* watchOpen(fd, id, events): token */
static napi_value watch_open(napi_env env, napi_callback_info info) {
  addon *owner;
  uint32_t args[3];
  if (!take_numbers(env, info, args, 3, &owner)) return NULL;
  if (args[0] > INT32_MAX) return fail(env, EBADF, "watch");
  poll_set *set = take_set(env, owner);
  if (set == NULL) return NULL;
  if (!grow_places(set, args[0]) || !grow_watches(set)) return fail(env, ENOMEM, "watch");
  poll_forget(owner, (int)args[0]);
  uint32_t index = (uint32_t)set->first_free;
  watch *w = &set->watches[index];
  w->fd = (int)args[0];
  w->id = (int32_t)args[1];
  w->wanted = 0;
  w->generation = (w->generation + 1) & GENERATION_MASK;
  int err = change(set, w, args[2] & (READABLE | WRITABLE));
  if (err != 0) {
    w->fd = -1;
    return fail(env, err, "epoll_ctl");
  }
  set->first_free = w->next_free;
  w->open = true;
  set->places[w->fd] = (int32_t)index;
  return give_number(env, (int64_t)(w->generation << INDEX_BITS | index));
}

static watch *find_watch(addon *owner, uint32_t token) {
  poll_set *set = owner->poll;
  uint32_t index = token & INDEX_MASK;
  if (set == NULL || index >= set->size) return NULL;
  watch *w = &set->watches[index];
  return w->open && w->generation == token >> INDEX_BITS ? w : NULL;
}

/* watchSet(token, events): 0 or -errno; on a closed watch or descriptor it does nothing. */
static napi_value watch_set(napi_env env, napi_callback_info info) {
  addon *owner;
  uint32_t args[2];
  if (!take_numbers(env, info, args, 2, &owner)) return NULL;
  watch *w = find_watch(owner, args[0]);
  if (w == NULL) return give_number(env, 0);
  return give_number(env, -change(owner->poll, w, args[1] & (READABLE | WRITABLE)));
}

/* watchClose(token): void */
static napi_value watch_close(napi_env env, napi_callback_info info) {
  addon *owner;
  uint32_t token;
  if (!take_numbers(env, info, &token, 1, &owner)) return NULL;
  watch *w = find_watch(owner, token);
  if (w == NULL) return NULL;
  poll_set *set = owner->poll;
  untie(set, w);
  w->open = false;
  w->next_free = set->first_free;
  set->first_free = (int32_t)(w - set->watches);
  return NULL;
}

/* onReady(list: Int32Array, handler): void */
static napi_value on_ready(napi_env env, napi_callback_info info) {
  addon *owner;
  napi_value values[2];
  napi_typedarray_type type = napi_uint8_array;
  napi_valuetype kind = napi_undefined;
  bool is_array = false;
  napi_ref list;
  napi_ref handler;
  if (!take_values(env, info, values, 2, &owner)) return NULL;
  if (napi_is_typedarray(env, values[0], &is_array) == napi_ok && is_array) {
    napi_get_typedarray_info(env, values[0], &type, NULL, NULL, NULL, NULL);
  }
  napi_typeof(env, values[1], &kind);
  if (type != napi_int32_array || kind != napi_function) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "onReady expects (Int32Array, function)");
    return NULL;
  }
  poll_set *set = take_set(env, owner);
  if (set == NULL) return NULL;
  if (napi_create_reference(env, values[0], 1, &list) != napi_ok ||
      napi_create_reference(env, values[1], 1, &handler) != napi_ok) {
    return fail(env, ENOMEM, "onReady");
  }
  if (set->list != NULL) napi_delete_reference(env, set->list);
  if (set->handler != NULL) napi_delete_reference(env, set->handler);
  set->list = list;
  set->handler = handler;
  int err = uv_poll_start(set->handle, UV_POLL_READABLE, on_readable);
  if (err != 0) return fail(env, -err, "uv_poll_start");
  return NULL;
}

void define_poll(napi_env env, napi_value exports, addon *owner) {
  define(env, exports, owner, "watchOpen", watch_open);
  define(env, exports, owner, "watchSet", watch_set);
  define(env, exports, owner, "watchClose", watch_close);
  define(env, exports, owner, "onReady", on_ready);
}
