/*
 * The functions of libuv that the addon uses, declared by hand: Node exports them, but their
 * headers are not part of the Node-API headers package. All are old and stable (libuv 1.22 and
 * later).
 */
#ifndef TSGOST_UV_H
#define TSGOST_UV_H

#include <stddef.h>

struct uv_loop_s;
typedef struct uv_handle uv_handle;
typedef void (*uv_poll_call)(uv_handle *handle, int status, int events);

#define UV_POLL_TYPE 8
#define UV_POLL_READABLE 1

size_t uv_handle_size(int type);
void uv_handle_set_data(uv_handle *handle, void *data);
void *uv_handle_get_data(const uv_handle *handle);
int uv_poll_init(struct uv_loop_s *loop, uv_handle *handle, int fd);
int uv_poll_start(uv_handle *handle, int events, uv_poll_call call);
void uv_close(uv_handle *handle, void (*closed)(uv_handle *handle));
void uv_ref(uv_handle *handle);
void uv_unref(uv_handle *handle);
char *uv_err_name_r(int err, char *out, size_t size);
char *uv_strerror_r(int err, char *out, size_t size);

#endif
