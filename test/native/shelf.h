// SPDX-License-Identifier: MIT
// A service manager's file descriptor store, for the tests: keeps copies by name.
#pragma once

#include <fcntl.h>

#include <map>
#include <memory>
#include <string>

#include "fd_store.h"
#include "session_store.h"

namespace pg_gateway::test {

// A NOTIFY_SOCKET at which nobody listens: ECONNREFUSED.
inline constexpr const char* kNobodysSocket = "@pg-gateway nobody listens here";

class Shelf {
 public:
  // A store that puts everything on this shelf.
  std::unique_ptr<FdStore> store() { return std::make_unique<Store>(*this); }
  // What the next process is given: copies of all.
  StoredFds copies() const {
    StoredFds stored;
    for (const auto& [name, fd] : kept_) {
      UniqueFd copy(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3));
      (void)stored.take(name, copy);
    }
    return stored;
  }
  const std::map<std::string, UniqueFd>& kept() const { return kept_; }
  void lose(const std::string& name) { kept_.erase(name); }
  // Nothing more can be put on it.
  void close() { closed_ = true; }

 private:
  class Store final : public FdStore {
   public:
    explicit Store(Shelf& shelf) : shelf_(shelf) {}
    SysError keep(const std::string& name, int fd) override {
      if (shelf_.closed_) return {"sendmsg", EAGAIN};
      shelf_.kept_[name] = UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
      return {};
    }
    void drop(const std::string& name) override { shelf_.kept_.erase(name); }

   private:
    Shelf& shelf_;
  };

  std::map<std::string, UniqueFd> kept_;
  bool closed_ = false;
};

}  // namespace pg_gateway::test
