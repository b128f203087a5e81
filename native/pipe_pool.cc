// SPDX-License-Identifier: MIT
#include "pipe_pool.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace pg_gateway {

void Pipe::measure() {
  static const long page = ::sysconf(_SC_PAGESIZE);
  const int bytes = ::fcntl(write_end.get(), F_GETPIPE_SZ);
  slots = bytes >= page ? static_cast<std::uint32_t>(bytes / page) : 1;
}

std::unique_ptr<Pipe> PipePool::take() {
  if (!idle_.empty()) {
    std::unique_ptr<Pipe> pipe = std::move(idle_.back());
    idle_.pop_back();
    keep(*pipe);
    return pipe;
  }
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_NONBLOCK | O_CLOEXEC) != 0) return nullptr;
  auto pipe = std::make_unique<Pipe>();
  pipe->read_end.reset(ends[0]);
  pipe->write_end.reset(ends[1]);
  if (std::max(ends[0], ends[1]) >= bound_) {
    errno = EMFILE;
    return nullptr;
  }
  // EPERM past pipe-user-pages-soft: a small pipe is slower and still right.
  ::fcntl(ends[1], F_SETPIPE_SZ, kPipeBytes);
  pipe->measure();
  keep(*pipe);
  return pipe;
}

void PipePool::give_back(std::unique_ptr<Pipe> pipe) {
  if (idle_.size() < kMaxIdle) idle_.push_back(std::move(pipe));
}

}  // namespace pg_gateway
