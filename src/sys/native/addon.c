/*
 * The addon's entry: one state block an environment, attached memories, arguments and results.
 * Nothing here or in the other files is shared between environments, so each worker may load it.
 */
#include "addon.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "uv.h"

#define NUMBERS_MAX 6

bool take_numbers(napi_env env, napi_callback_info info, uint32_t *out, size_t count,
                  addon **owner) {
  napi_value values[NUMBERS_MAX];
  size_t given = NUMBERS_MAX;
  void *data = NULL;
  if (napi_get_cb_info(env, info, &given, values, NULL, &data) != napi_ok) return false;
  *owner = data;
  for (size_t i = 0; i < count; i++) {
    if (i >= given || napi_get_value_uint32(env, values[i], &out[i]) != napi_ok) {
      napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "the addon expected a number");
      return false;
    }
  }
  return true;
}

bool take_values(napi_env env, napi_callback_info info, napi_value *out, size_t count,
                 addon **owner) {
  void *data = NULL;
  size_t given = count;
  if (napi_get_cb_info(env, info, &given, out, NULL, &data) != napi_ok) return false;
  *owner = data;
  return true;
}

bool take_string(napi_env env, napi_value value, char *out, size_t size, const char *what) {
  size_t len = 0;
  if (napi_get_value_string_utf8(env, value, NULL, 0, &len) != napi_ok) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "the addon expected a string");
    return false;
  }
  if (len >= size) {
    fail(env, ENAMETOOLONG, what);
    return false;
  }
  if (napi_get_value_string_utf8(env, value, out, size, &len) != napi_ok) return false;
  if (strlen(out) != len) {
    fail(env, EINVAL, what);
    return false;
  }
  return true;
}

bool take_bytes(napi_env env, napi_value value, uint8_t **data, size_t *len) {
  bool is_array = false;
  napi_typedarray_type type;
  void *bytes = NULL;
  if (napi_is_typedarray(env, value, &is_array) != napi_ok || !is_array ||
      napi_get_typedarray_info(env, value, &type, len, &bytes, NULL, NULL) != napi_ok ||
      type != napi_uint8_array) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "the addon expected a Uint8Array");
    return false;
  }
  *data = bytes;
  return true;
}

bool find_memory(napi_env env, addon *owner, uint32_t region, memory *out) {
  if (region >= REGION_MAX || owner->regions[region] == NULL) return false;
  napi_value buffer;
  void *data = NULL;
  size_t size = 0;
  if (napi_get_reference_value(env, owner->regions[region], &buffer) != napi_ok) return false;
  if (buffer == NULL) return false;
  if (napi_get_arraybuffer_info(env, buffer, &data, &size) != napi_ok) return false;
  out->base = data;
  out->size = data == NULL ? 0 : size;
  return data != NULL;
}

napi_value give_number(napi_env env, int64_t value) {
  napi_value result = NULL;
  napi_create_int64(env, value, &result);
  return result;
}

napi_value give_undefined(napi_env env) {
  napi_value result = NULL;
  napi_get_undefined(env, &result);
  return result;
}

napi_value give_bytes(napi_env env, const void *data, size_t len) {
  napi_value buffer = NULL;
  napi_value result = NULL;
  void *room = NULL;
  if (napi_create_arraybuffer(env, len, &room, &buffer) != napi_ok) return NULL;
  if (len > 0) memcpy(room, data, len);
  napi_create_typedarray(env, napi_uint8_array, len, buffer, 0, &result);
  return result;
}

napi_value fail(napi_env env, int err, const char *syscall) {
  char name[64];
  char text[128];
  char message[256];
  napi_value code;
  napi_value words;
  napi_value error;
  uv_err_name_r(-err, name, sizeof name);
  uv_strerror_r(-err, text, sizeof text);
  if (err == EBADFD) {
    snprintf(name, sizeof name, "EBADFD");
    snprintf(text, sizeof text, "file descriptor in bad state");
  }
  snprintf(message, sizeof message, "%s: %s, %s", name, text, syscall);
  if (napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &code) != napi_ok ||
      napi_create_string_utf8(env, message, NAPI_AUTO_LENGTH, &words) != napi_ok ||
      napi_create_error(env, code, words, &error) != napi_ok) {
    return NULL;
  }
  if (napi_create_string_utf8(env, syscall, NAPI_AUTO_LENGTH, &words) == napi_ok) {
    napi_set_named_property(env, error, "syscall", words);
  }
  napi_set_named_property(env, error, "errno", give_number(env, err));
  napi_throw(env, error);
  return NULL;
}

void define(napi_env env, napi_value exports, addon *owner, const char *name, napi_callback call) {
  napi_value function;
  if (napi_create_function(env, name, NAPI_AUTO_LENGTH, call, owner, &function) == napi_ok) {
    napi_set_named_property(env, exports, name, function);
  }
}

/* attach(memory: ArrayBuffer): number */
static napi_value attach(napi_env env, napi_callback_info info) {
  addon *owner;
  napi_value value;
  bool is_buffer = false;
  if (!take_values(env, info, &value, 1, &owner)) return NULL;
  if (napi_is_arraybuffer(env, value, &is_buffer) != napi_ok || !is_buffer) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "attach expects an ArrayBuffer");
    return NULL;
  }
  for (uint32_t region = 0; region < REGION_MAX; region++) {
    if (owner->regions[region] != NULL) continue;
    if (napi_create_reference(env, value, 1, &owner->regions[region]) != napi_ok) break;
    return give_number(env, region);
  }
  return fail(env, ENOSPC, "attach");
}

/* detach(region: number): void */
static napi_value detach(napi_env env, napi_callback_info info) {
  addon *owner;
  uint32_t region;
  if (!take_numbers(env, info, &region, 1, &owner)) return NULL;
  if (region < REGION_MAX && owner->regions[region] != NULL) {
    napi_delete_reference(env, owner->regions[region]);
    owner->regions[region] = NULL;
  }
  return NULL;
}

/* lastErrno(): number */
static napi_value last_errno(napi_env env, napi_callback_info info) {
  addon *owner;
  if (!take_numbers(env, info, NULL, 0, &owner)) return NULL;
  return give_number(env, owner->last_errno);
}

static void destroy(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  addon *owner = data;
  tun_close_all(owner);
  free(owner);
}

NAPI_MODULE_INIT() {
  addon *owner = calloc(1, sizeof *owner);
  if (owner == NULL) return fail(env, ENOMEM, "calloc");
  if (napi_set_instance_data(env, owner, destroy, NULL) != napi_ok) {
    free(owner);
    return fail(env, EINVAL, "napi_set_instance_data");
  }
  define(env, exports, owner, "attach", attach);
  define(env, exports, owner, "detach", detach);
  define(env, exports, owner, "lastErrno", last_errno);
  define_tun(env, exports, owner);
  define_socket(env, exports, owner);
  define_udp(env, exports, owner);
  define_ping(env, exports, owner);
  define_poll(env, exports, owner);
  define_netlink(env, exports, owner);
  define_notify(env, exports, owner);
  return exports;
}
