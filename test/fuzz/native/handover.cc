// SPDX-License-Identifier: MIT
// What the service manager says of the descriptors it gives back: their names, LISTEN_FDS and
// LISTEN_FDNAMES, as they are read before Node begins (early_start.h), and NOTIFY_SOCKET.
//
// Input: which of the four questions, then the text.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <string_view>

#include "early_start.h"
#include "fd_store.h"
#include "input.h"
#include "service_manager.h"
#include "session_store.h"

using namespace pg_gateway;
using fuzz::Input;
using fuzz::require;

namespace {

constexpr int kFirstFd = 3;
constexpr int kGiven = 6;

// An environment has no NUL.
std::string text(std::string_view bytes) {
  return std::string(bytes.substr(0, bytes.find('\0')));
}

void take(const std::string& name) {
  StoredFds stored;
  UniqueFd fd(::memfd_create("x", MFD_CLOEXEC));
  const int number = fd.get();
  const bool taken = stored.take(name, fd);
  require(taken == !fd.valid(), "it is taken only if the name is ours");
  require(taken == (stored.ledger.valid() || !stored.segments.empty()), "and is where it belongs");
  for (const auto& [segment, ends] : stored.segments) {
    require(segment <= ParkingLot::kMaxNumber, "a segment has a possible number");
    const bool in = ends.first.get() == number;
    const std::string own = ParkingLot::kPrefix + std::to_string(segment) +
                            (in ? ParkingLot::kInSuffix : ParkingLot::kOutSuffix);
    StoredFds again;
    UniqueFd other(::memfd_create("x", MFD_CLOEXEC));
    require(again.take(own, other), "the name that it would be given is ours too");
    require(again.segments.begin()->first == segment, "and means the same");
  }
}

void start(test::ServiceManager& manager, const std::string& count, const std::string& names,
           bool ours) {
  // Whatever is said of them: all are there, and are this process' to lose.
  for (int i = 0; i < kGiven; ++i) {
    const UniqueFd file(::open("/dev/null", O_RDWR | O_CLOEXEC));
    if (file.get() != kFirstFd + i) ::dup2(file.get(), kFirstFd + i);
  }
  ::setenv("LISTEN_PID", ours ? std::to_string(::getpid()).c_str() : count.c_str(), 1);
  ::setenv("LISTEN_FDS", count.c_str(), 1);
  ::setenv("LISTEN_FDNAMES", names.c_str(), 1);
  ::setenv("NOTIFY_SOCKET", manager.notify_socket().c_str(), 1);
  const EarlyStart early = start_early();
  require(early.engine == nullptr || !early.error, "an engine starts without a parked session");
  if (early.engine != nullptr) {
    require(early.engine->recovery().recovered == 0, "nothing is made of nothing");
    early.engine->stop(0, true);
  }
  manager.handle_notifications();
  for (int i = 0; i < kGiven; ++i) ::close(kFirstFd + i);
}

}  // namespace

// All that libFuzzer opens from now on, as the file in which it notes what a merge has seen, is out
// of the way of the numbers that a service manager gives.
extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  for (int fd = kFirstFd; fd < kFirstFd + kGiven + 2; ++fd) {
    if (::fcntl(fd, F_GETFD) < 0) (void)::open("/dev/null", O_RDONLY | O_CLOEXEC);
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static test::ServiceManager& manager = *new test::ServiceManager;
  Input input(data, size);
  switch (input.choice(4)) {
    case 0:
      take(std::string(input.bytes(size)));
      break;
    case 1: {
      NotifyFdStore store;
      if (!store.open(std::string(input.bytes(size)))) store.drop("x");
      break;
    }
    default: {
      const bool ours = input.choice(8) != 0;
      const std::string count = text(input.bytes(input.choice(8)));
      start(manager, count, text(input.bytes(size)), ours);
      break;
    }
  }
  return 0;
}
