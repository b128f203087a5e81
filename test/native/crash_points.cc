// SPDX-License-Identifier: MIT
#include "crash_points.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <new>
#include <utility>

#include "parking_lot.h"
#include "system_calls.h"

namespace pg_gateway::test {

namespace {

StepBoard* board_of_this_process = nullptr;  // null: not armed
std::uint64_t kill_at = 0;
thread_local bool has_unparked_client = false;

}  // namespace

bool crash_is_armed() {
  return board_of_this_process != nullptr;
}

void crash_step(const char* call, const char* side) {
  StepBoard* board = board_of_this_process;
  if (board == nullptr || board->steps.fetch_add(1) + 1 != kill_at) return;
  std::snprintf(board->call.data(), board->call.size(), "%s %s", side, call);
  board->killed.store(true);
  ::syscall(SYS_kill, ::getpid(), SIGKILL);
  for (;;) ::pause();
}

void note_unparked_client(bool has) {
  StepBoard* board = board_of_this_process;
  if (board == nullptr || std::exchange(has_unparked_client, has) == has) return;
  if (has) {
    ++board->unparked;
  } else {
    --board->unparked;
  }
}

bool is_parking(const msghdr* message) {
  std::uint32_t version = 0;
  if (message->msg_iovlen != 1 || message->msg_iov->iov_len != sizeof(ParkedMessage)) return false;
  std::memcpy(&version, message->msg_iov->iov_base, sizeof version);
  return version == Ledger::kVersion;
}

StepBoard& make_step_board() {
  void* memory =
      ::mmap(nullptr, sizeof(StepBoard), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return *new (memory) StepBoard;
}

void arm_crash_point(StepBoard& board, std::uint64_t at) {
  board.steps = 0;
  board.killed = false;
  board.unparked = 0;
  board.call = {};
  kill_at = at;
  board_of_this_process = &board;
}

}  // namespace pg_gateway::test
