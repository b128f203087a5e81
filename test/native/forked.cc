// SPDX-License-Identifier: MIT
#include "forked.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <new>

namespace pg_gateway::test {

namespace {

struct Board {
  std::uint64_t at = 0;  // the case that runs
  std::array<char, 1024> problem{};
};

}  // namespace

std::string run_forked(std::uint64_t first, std::uint64_t count, std::uint64_t in_a_batch,
                       const std::function<std::string(std::uint64_t)>& run) {
  void* memory =
      ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  Board& board = *new (memory) Board;
  std::string problem;
  for (std::uint64_t done = 0; done < count && problem.empty(); done += in_a_batch) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      const std::uint64_t end = first + std::min(count, done + in_a_batch);
      for (std::uint64_t i = first + done; i < end; ++i) {
        board.at = i;
        const std::string failed = run(i);
        if (failed.empty()) continue;
        std::snprintf(board.problem.data(), board.problem.size(), "%s", failed.c_str());
        ::_exit(1);
      }
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
    problem = "case " + std::to_string(board.at) + ": ";
    problem += board.problem[0] != 0 ? board.problem.data()
               : WIFSIGNALED(status) ? "died of signal " + std::to_string(WTERMSIG(status))
                                     : "exited with " + std::to_string(WEXITSTATUS(status));
  }
  ::munmap(memory, sizeof(Board));
  return problem;
}

}  // namespace pg_gateway::test
