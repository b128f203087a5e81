// SPDX-License-Identifier: MIT
#include "support.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

namespace pg_gateway::test {

namespace {

bool wait_for(int fd, short events, int patience_ms) {
  pollfd waiting{fd, events, 0};
  int ready = 0;
  do {
    ready = ::poll(&waiting, 1, patience_ms);
  } while (ready < 0 && errno == EINTR);
  return ready > 0;
}

sockaddr_un unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::snprintf(address.sun_path, sizeof address.sun_path, "%s", path.c_str());
  return address;
}

template <typename Visit>
void for_each_entry(const std::string& folder, Visit visit) {
  DIR* dir = ::opendir(folder.c_str());
  if (dir == nullptr) return;
  while (const dirent* entry = ::readdir(dir)) {
    if (entry->d_name[0] != '.') visit(std::string(entry->d_name));
  }
  ::closedir(dir);
}

}  // namespace

Pair unix_pair() {
  std::array<int, 2> ends{-1, -1};
  ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data());
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

Pair tcp_pair() {
  const UniqueFd listener = listen_tcp();
  UniqueFd a = connect_to(address_of(listener.get()));
  return {std::move(a), accept_one(listener.get())};
}

UniqueFd listen_tcp(const std::string& address, int backlog) {
  const SocketAddress where = parse_address(address, 0).take();
  UniqueFd fd(::socket(where.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (::bind(fd.get(), where.get(), where.length) != 0 || ::listen(fd.get(), backlog) != 0) {
    return UniqueFd();
  }
  return fd;
}

UniqueFd listen_unix(const std::string& path) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const sockaddr_un address = unix_address(path);
  ::unlink(path.c_str());
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(fd.get(), 128) != 0) {
    return UniqueFd();
  }
  return fd;
}

SocketAddress address_of(int socket) {
  SocketAddress address;
  address.length = sizeof address.storage;
  ::getsockname(socket, reinterpret_cast<sockaddr*>(&address.storage), &address.length);
  return address;
}

bool has_ipv6() {
  return listen_tcp("::1").valid();
}

UniqueFd connect_to(const SocketAddress& address) {
  UniqueFd fd(::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (::connect(fd.get(), address.get(), address.length) == 0) return fd;
  int error = errno;
  socklen_t length = sizeof error;
  if (error == EINPROGRESS && wait_for(fd.get(), POLLOUT, kPatienceMs)) {
    ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &length);
  }
  if (error != 0) fd.reset();
  return fd;
}

UniqueFd connect_unix(const std::string& path) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const sockaddr_un address = unix_address(path);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    fd.reset();
  }
  return fd;
}

UniqueFd accept_one(int listener, int patience_ms) {
  if (!wait_for(listener, POLLIN, patience_ms)) return UniqueFd();
  return UniqueFd(::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
}

void set_small_buffers(int socket) {
  const int bytes = 8192;
  ::setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
  ::setsockopt(socket, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
}

void reset_connection(UniqueFd& socket) {
  const linger now{1, 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
  socket.reset();
}

void send_fin(int socket) {
  ::shutdown(socket, SHUT_WR);
}

bool send_all(int socket, std::string_view bytes, int patience_ms) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    } else if (errno != EAGAIN || !wait_for(socket, POLLOUT, patience_ms)) {
      return false;
    }
  }
  return true;
}

std::string receive(int socket, std::size_t bytes, int patience_ms) {
  std::string got(bytes, '\0');
  std::size_t have = 0;
  while (have < bytes) {
    const ssize_t count = ::recv(socket, got.data() + have, bytes - have, MSG_DONTWAIT);
    if (count > 0) {
      have += static_cast<std::size_t>(count);
    } else if (count == 0 || errno != EAGAIN || !wait_for(socket, POLLIN, patience_ms)) {
      break;
    }
  }
  got.resize(have);
  return got;
}

Received receive_to_end(int socket, int patience_ms) {
  Received received;
  std::vector<char> chunk(64 * 1024);
  for (;;) {
    const ssize_t count = ::recv(socket, chunk.data(), chunk.size(), MSG_DONTWAIT);
    if (count > 0) {
      received.bytes.append(chunk.data(), static_cast<std::size_t>(count));
    } else if (count == 0) {
      received.end = StreamEnd::kFin;
      return received;
    } else if (errno != EAGAIN) {
      received.end = StreamEnd::kReset;
      return received;
    } else if (!wait_for(socket, POLLIN, patience_ms)) {
      return received;
    }
  }
}

bool is_readable(int socket, int patience_ms) {
  return wait_for(socket, POLLIN, patience_ms);
}

std::string pattern_bytes(std::size_t count, std::uint32_t seed) {
  std::string bytes(count, '\0');
  std::uint32_t state = seed * 2654435761U | 1U;
  for (char& byte : bytes) {
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    byte = static_cast<char>(state >> 24);
  }
  return bytes;
}

std::size_t flood(int socket, std::string_view pattern, std::size_t offset, int quiet_ms) {
  std::size_t sent = 0;
  for (;;) {
    const std::size_t at = (offset + sent) % pattern.size();
    const ssize_t count =
        ::send(socket, pattern.data() + at, pattern.size() - at, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count > 0) {
      sent += static_cast<std::size_t>(count);
    } else if (errno != EAGAIN || !wait_for(socket, POLLOUT, quiet_ms)) {
      return sent;
    }
  }
}

std::string flooded(std::string_view pattern, std::size_t count) {
  std::string bytes;
  while (bytes.size() < count) bytes += pattern.substr(0, count - bytes.size());
  return bytes;
}

std::string kernels_view(int socket) {
  sockaddr_in peer{};
  socklen_t length = sizeof peer;
  ::getpeername(socket, reinterpret_cast<sockaddr*>(&peer), &length);
  std::array<char, 8> port{};
  std::snprintf(port.data(), port.size(), ":%04X ", ntohs(peer.sin_port));
  std::string rows;
  std::ifstream table("/proc/thread-self/net/tcp");
  for (std::string row; std::getline(table, row);) {
    if (row.find(port.data()) != std::string::npos) rows += row.substr(0, 150) + " | ";
  }
  return rows;
}

std::vector<int> open_fds() {
  std::vector<int> fds;
  for_each_entry("/proc/self/fd", [&](const std::string& name) { fds.push_back(std::stoi(name)); });
  // The folder's own descriptor was among them and is closed again.
  std::erase_if(fds, [](int fd) { return ::fcntl(fd, F_GETFD) < 0; });
  return fds;
}

int next_number() {
  return UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)).get();
}

std::size_t bytes_in_pipes() {
  std::size_t total = 0;
  std::vector<ino_t> seen;
  for (const int fd : open_fds()) {
    // Past libc: the descriptor is a worker's, and ThreadSanitizer would call it a race that it is
    // looked at while the worker may close it.
    struct stat what {};
    const std::string path = "/proc/self/fd/" + std::to_string(fd);
    if (::stat(path.c_str(), &what) != 0 || !S_ISFIFO(what.st_mode)) continue;
    // Both ends have the same inode and tell the same number.
    if (std::find(seen.begin(), seen.end(), what.st_ino) != seen.end()) continue;
    seen.push_back(what.st_ino);
    int bytes = 0;
    if (::syscall(SYS_ioctl, fd, FIONREAD, &bytes) == 0) total += static_cast<std::size_t>(bytes);
  }
  return total;
}

std::int64_t thread_cpu_ns(std::string_view name) {
  std::int64_t total = 0;
  for_each_entry("/proc/self/task", [&](const std::string& thread) {
    const std::string folder = "/proc/self/task/" + thread;
    std::string comm;
    std::getline(std::ifstream(folder + "/comm") >> std::ws, comm);
    std::int64_t on_cpu_ns = 0;  // the first field of schedstat
    if (comm == name && std::ifstream(folder + "/schedstat") >> on_cpu_ns) total += on_cpu_ns;
  });
  return total;
}

FdExhaustion::FdExhaustion(unsigned spare) {
  ::getrlimit(RLIMIT_NOFILE, &before_);
  // The limit is on the number of a descriptor, so the holes below it are filled first.
  const std::vector<int> open = open_fds();
  const int highest = *std::max_element(open.begin(), open.end());
  rlimit lowered = before_;
  lowered.rlim_cur = static_cast<rlim_t>(highest) + 1 + spare;
  ::setrlimit(RLIMIT_NOFILE, &lowered);
  for (;;) {
    UniqueFd filler(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (!filler.valid()) break;
    fillers_.push_back(std::move(filler));
  }
  for (unsigned i = 0; i < spare && !fillers_.empty(); ++i) fillers_.pop_back();
}

}  // namespace pg_gateway::test
