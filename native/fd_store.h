// SPDX-License-Identifier: MIT
// Where descriptors survive the process: the service manager's file descriptor store
// (systemd.service(5), FileDescriptorStoreMax=; sd_notify(3), FDSTORE=1). The npm package
// that sends the other notifications cannot send descriptors.
//
// Owns: its own socket. Any thread.
#pragma once

#include <string>

#include "fd.h"

namespace pg_gateway {

class FdStore {
 public:
  virtual ~FdStore() = default;
  // Keeps a copy of the descriptor under a name. Must not block.
  virtual SysError keep(const std::string& name, int fd) = 0;
  // Gives up all that was kept under the name.
  virtual void drop(const std::string& name) = 0;
};

class NotifyFdStore final : public FdStore {
 public:
  // `notify_socket`: $NOTIFY_SOCKET, a path or, after "@", an abstract name.
  SysError open(const std::string& notify_socket);
  SysError keep(const std::string& name, int fd) override;
  void drop(const std::string& name) override;
  // Whether the manager can take another message at once. True where that cannot be told.
  bool has_room() const;

 private:
  SysError send(const std::string& state, int fd) const;

  UniqueFd socket_;
};

}  // namespace pg_gateway
