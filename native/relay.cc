// SPDX-License-Identifier: MIT
#include "relay.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

namespace pg_gateway {

namespace {

// No SPLICE_F_MORE: it corks the sink, and the last piece of an answer would wait
// 200 ms for bytes that never come. SPLICE_F_MOVE has been a no-op since 2.6.21.
ssize_t splice_once(int from, int to, std::size_t bytes) {
  ssize_t moved = 0;
  do {
    moved = ::splice(from, nullptr, to, nullptr, bytes, SPLICE_F_NONBLOCK);
  } while (moved < 0 && errno == EINTR);
  return moved;
}

}  // namespace

void Relay::abandon() {
  ended_ = true;
  residue_ = 0;
  pipe_.reset();
}

// Pushes residue_ bytes from the pipe to the sink. Goes on to EAGAIN: only that
// makes the kernel owe us an edge.
Relay::Drain Relay::drain(Pipe& pipe, int sink) {
  while (residue_ > 0) {
    const ssize_t moved = splice_once(pipe.read_end.get(), sink, residue_);
    if (moved > 0) {
      residue_ -= static_cast<std::uint32_t>(moved);
      delivered_ += static_cast<std::uint64_t>(moved);
      continue;
    }
    if (moved < 0 && errno == EAGAIN) return Drain::kBlocked;
    last_errno_ = moved < 0 ? errno : EPIPE;
    return Drain::kFailed;
  }
  return Drain::kEmpty;
}

PumpResult Relay::pump(int source, int sink, PipePool& pool) {
  if (!runnable()) return PumpResult::kWaiting;
  pumped_ = true;
  const std::uint64_t before = delivered_;
  const PumpResult result = move(source, sink, pool);
  const std::uint64_t moved = delivered_ - before;
  if (moved < kLargeTurn || !stream_source_ || ended_) {
    bulk_bytes_ = 0;
  } else if (bulk_bytes_ < kBulkBytes) {
    bulk_bytes_ += static_cast<std::uint32_t>(moved);
  }
  return result;
}

PumpResult Relay::move(int source, int sink, PipePool& pool) {
  const std::uint64_t budget_end = delivered_ + kTurnBudget;
  std::unique_ptr<Pipe> pipe = std::move(pipe_);

  for (;;) {
    if (residue_ > 0) {
      switch (drain(*pipe, sink)) {
        case Drain::kEmpty:
          break;
        case Drain::kBlocked:
          blocked_ = true;
          pool.hold(*pipe, owner_);
          pipe_ = std::move(pipe);
          return PumpResult::kWaiting;
        case Drain::kFailed:
          residue_ = 0;
          return PumpResult::kSinkFailed;  // and the pipe dies here with what is in it
      }
    }
    if (!readable_ || delivered_ >= budget_end) {
      if (pipe != nullptr) pool.give_back(std::move(pipe));
      return readable_ ? PumpResult::kMore : PumpResult::kWaiting;
    }
    if (pipe == nullptr && (pipe = pool.take()) == nullptr) {
      last_errno_ = errno;
      return PumpResult::kNoPipe;
    }
    pipe->mark(owner_);
    const ssize_t taken = splice_once(source, pipe->write_end.get(), kMaxTake);
    if (taken > 0) {
      residue_ = static_cast<std::uint32_t>(taken);
      // Each buffer of a pipe holds at least one byte: fewer bytes than buffers, and
      // it was the source that ran out. After a hang-up the end still has to be read.
      if (stream_source_ && !hangup_ && residue_ < pipe->slots) readable_ = false;
      continue;
    }
    const int error = taken < 0 ? errno : 0;
    pool.give_back(std::move(pipe));
    if (error == EAGAIN) {
      readable_ = false;
      return PumpResult::kWaiting;
    }
    if (error != 0) {
      last_errno_ = error;
      return PumpResult::kSourceFailed;
    }
    ended_ = true;
    // ENOTCONN here means the sink is gone; its own event says so.
    ::shutdown(sink, SHUT_WR);
    return PumpResult::kEnd;
  }
}

}  // namespace pg_gateway
