/*
 * One datagram to a Unix socket: what a service manager is told (sd_notify). Node has no datagram
 * sockets of this family.
 */
#include <errno.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "addon.h"

/* unixSend(path: string, bytes: Uint8Array): void; a path that begins with @ is abstract */
static napi_value unix_send(napi_env env, napi_callback_info info) {
  addon *owner;
  napi_value values[2];
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  uint8_t *bytes;
  size_t len;
  if (!take_values(env, info, values, 2, &owner)) return NULL;
  if (!take_string(env, values[0], name.sun_path, sizeof name.sun_path, "path")) return NULL;
  if (!take_bytes(env, values[1], &bytes, &len)) return NULL;
  socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name.sun_path));
  if (name.sun_path[0] == '@') name.sun_path[0] = '\0';
  else size++;
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return fail(env, errno, "socket");
  ssize_t sent = sendto(fd, bytes, len, MSG_NOSIGNAL, (struct sockaddr *)&name, size);
  int err = errno;
  close(fd);
  if (sent < 0) return fail(env, err, "sendto");
  return give_undefined(env);
}

void define_notify(napi_env env, napi_value exports, addon *owner) {
  define(env, exports, owner, "unixSend", unix_send);
}
