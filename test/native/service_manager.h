// SPDX-License-Identifier: MIT
// The file descriptor store of a service manager, as a process sees it that is told of it by
// NOTIFY_SOCKET (sd_notify(3)): what systemd does with FDSTORE=1 and FDSTOREREMOVE=1. Two
// descriptors may have the same name.
//
// Owns: the socket and what is stored. One thread.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "fd.h"

namespace pg_gateway::test {

class ServiceManager {
 public:
  ServiceManager();
  // For NotifyFdStore::open().
  const std::string& notify_socket() const { return name_; }
  int fd() const { return socket_.get(); }
  // Does what the notifications ask for that have come so far.
  void handle_notifications();
  const std::vector<std::pair<std::string, UniqueFd>>& stored() const { return stored_; }

 private:
  void handle(const std::string& text, UniqueFd fd);

  UniqueFd socket_;
  std::string name_;
  std::vector<std::pair<std::string, UniqueFd>> stored_;
};

}  // namespace pg_gateway::test
