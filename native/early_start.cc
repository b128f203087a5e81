// SPDX-License-Identifier: MIT
#include "early_start.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pg_gateway {

namespace {

constexpr int kFirstFd = 3;  // SD_LISTEN_FDS_START
constexpr long kMaxFds = 1 << 16;

// Not deleted where it is not taken: its threads may run until the process has ended.
EarlyStart* kept = nullptr;

long number_in(const char* variable) {
  const char* text = std::getenv(variable);
  if (text == nullptr) return -1;
  const std::string_view digits = text;
  long value = -1;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return error == std::errc{} && end == digits.data() + digits.size() ? value : -1;
}

std::vector<std::string> names_in(const char* variable) {
  std::vector<std::string> names;
  const char* text = std::getenv(variable);
  if (text == nullptr) return names;
  std::string_view rest = text;
  for (;;) {
    const std::size_t colon = rest.find(':');
    names.emplace_back(rest.substr(0, colon));
    if (colon == std::string_view::npos) return names;
    rest.remove_prefix(colon + 1);
  }
}

// Whether what is kept has been taken up by a process that did not come through.
bool is_suspect(const std::vector<std::string>& names) {
  for (std::size_t i = 0; i < names.size(); ++i) {
    const int fd = kFirstFd + static_cast<int>(i);
    if (names[i] == StoredFds::kLedgerName && Ledger::unfinished_in(fd) > 0) return true;
  }
  return false;
}

// Those of the store; the others are not touched.
StoredFds stored_fds(const std::vector<std::string>& names) {
  StoredFds stored;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const int number = kFirstFd + static_cast<int>(i);
    UniqueFd fd(::fcntl(number, F_GETFD) < 0 ? -1 : number);
    if (!stored.take(names[i], fd)) (void)fd.release();
  }
  return stored;
}

// As Node does when it begins: without it a soft limit of 1024 would end most of the sessions.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

EarlyStart start_early() {
  const long count = number_in("LISTEN_FDS");
  const char* notify_socket = std::getenv("NOTIFY_SOCKET");
  if (number_in("LISTEN_PID") != ::getpid() || count < 0 || count > kMaxFds ||
      notify_socket == nullptr) {
    return {};
  }
  EngineOptions options;
  options.keep_with(notify_socket);
  // Nothing has been touched yet: whoever starts an engine later tries again, and says why not.
  if (options.no_fd_store) return {};
  const std::vector<std::string> names = names_in("LISTEN_FDNAMES");
  if (static_cast<long>(names.size()) != count || is_suspect(names)) return {};
  options.stored = stored_fds(names);
  if (options.stored.empty()) return {};
  raise_descriptor_limit();
  options.accepting = false;
  options.as_before = true;
  auto engine = std::make_unique<Engine>([](void*) {}, nullptr);
  const SysError error = engine->start(std::move(options));
  return {std::move(engine), error};
}

void keep_early_start() {
  kept = std::make_unique<EarlyStart>(start_early()).release();
}

EarlyStart take_early_start() {
  const std::unique_ptr<EarlyStart> taken(std::exchange(kept, nullptr));
  return taken == nullptr ? EarlyStart{} : std::move(*taken);
}

}  // namespace pg_gateway
