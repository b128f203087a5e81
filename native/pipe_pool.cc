// SPDX-License-Identifier: MIT
#include "pipe_pool.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>

namespace pg_gateway {

namespace {

std::unique_ptr<Pipe> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_NONBLOCK | O_CLOEXEC) != 0) return nullptr;
  auto pipe = std::make_unique<Pipe>();
  pipe->read_end.reset(ends[0]);
  pipe->write_end.reset(ends[1]);
  // EPERM past pipe-user-pages-soft: a small pipe is slower and still right.
  int bytes = ::fcntl(ends[1], F_SETPIPE_SZ, PipePool::kPipeBytes);
  if (bytes < 0) bytes = ::fcntl(ends[1], F_GETPIPE_SZ);
  static const long page = ::sysconf(_SC_PAGESIZE);
  pipe->slots = bytes >= page ? static_cast<std::uint32_t>(bytes / page) : 1;
  return pipe;
}

}  // namespace

std::unique_ptr<Pipe> PipePool::take() {
  if (idle_.empty()) return make_pipe();
  std::unique_ptr<Pipe> pipe = std::move(idle_.back());
  idle_.pop_back();
  return pipe;
}

void PipePool::give_back(std::unique_ptr<Pipe> pipe) {
  if (idle_.size() < kMaxIdle) idle_.push_back(std::move(pipe));
}

}  // namespace pg_gateway
