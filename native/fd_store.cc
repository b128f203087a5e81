// SPDX-License-Identifier: MIT
#include "fd_store.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

namespace pg_gateway {

SysError NotifyFdStore::open(const std::string& notify_socket) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (notify_socket.size() < 2 || notify_socket.size() >= sizeof address.sun_path ||
      (notify_socket[0] != '/' && notify_socket[0] != '@')) {
    return {"NOTIFY_SOCKET", EAFNOSUPPORT};
  }
  std::memcpy(address.sun_path, notify_socket.data(), notify_socket.size());
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';
  UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return SysError::last("socket");
  const auto length =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + notify_socket.size());
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) {
    return SysError::last("connect");
  }
  socket_ = std::move(fd);
  return {};
}

SysError NotifyFdStore::send(const std::string& state, int fd) const {
  std::string text = state;
  iovec data{text.data(), text.size()};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof fd)> control{};
  if (fd >= 0) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  ssize_t sent = 0;
  do {
    // The caller may be a worker: a manager that does not listen must not hold it up.
    sent = ::sendmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent < 0 ? SysError::last("sendmsg") : SysError{};
}

SysError NotifyFdStore::keep(const std::string& name, int fd) {
  // FDPOLL=0: the manager would throw a descriptor away that shows EPOLLHUP, as an end of
  // a socket pair may.
  return send("FDSTORE=1\nFDPOLL=0\nFDNAME=" + name, fd);
}

// Of a connected datagram socket, POLLOUT is room in the queue of its peer (unix_dgram_poll() in
// the kernel's net/unix/af_unix.c).
bool NotifyFdStore::has_room() const {
  pollfd state{socket_.get(), POLLOUT, 0};
  int ready = 0;
  do {
    ready = ::poll(&state, 1, 0);
  } while (ready < 0 && errno == EINTR);
  return ready != 0;
}

void NotifyFdStore::drop(const std::string& name) {
  // If it is lost, what stays behind is recognised as dead at the next start.
  (void)send("FDSTOREREMOVE=1\nFDNAME=" + name, -1);
}

}  // namespace pg_gateway
