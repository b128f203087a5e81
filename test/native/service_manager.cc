// SPDX-License-Identifier: MIT
#include "service_manager.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <string_view>

namespace pg_gateway::test {

ServiceManager::ServiceManager()
    : socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  // Without a name the kernel finds an abstract one (unix(7), autobind).
  socklen_t length = sizeof address.sun_family;
  ::bind(fd(), reinterpret_cast<const sockaddr*>(&address), length);
  length = sizeof address;
  ::getsockname(fd(), reinterpret_cast<sockaddr*>(&address), &length);
  name_.assign(address.sun_path, length - offsetof(sockaddr_un, sun_path));
  name_[0] = '@';
}

void ServiceManager::handle_notifications() {
  for (;;) {
    std::array<char, 512> text{};
    iovec data{text.data(), text.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t bytes = ::recvmsg(fd(), &message, MSG_CMSG_CLOEXEC);
    if (bytes <= 0) return;
    UniqueFd received;
    if (const cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr) {
      int number = -1;
      std::memcpy(&number, CMSG_DATA(header), sizeof number);
      received.reset(number);
    }
    handle(std::string(text.data(), static_cast<std::size_t>(bytes)), std::move(received));
  }
}

void ServiceManager::handle(const std::string& text, UniqueFd fd) {
  constexpr std::string_view kKey = "\nFDNAME=";
  const std::size_t at = text.find(kKey);
  if (at == std::string::npos) return;
  const std::string name = text.substr(at + kKey.size());
  if (text.starts_with("FDSTORE=1\nFDPOLL=0\n") && fd.valid()) {
    stored_.emplace_back(name, std::move(fd));
  } else if (text.starts_with("FDSTOREREMOVE=1\n")) {
    std::erase_if(stored_, [&](const auto& entry) { return entry.first == name; });
  }
}

}  // namespace pg_gateway::test
