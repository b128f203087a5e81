// SPDX-License-Identifier: MIT
#include "fault_cases.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <random>
#include <sstream>
#include <tuple>

#include "support.h"

namespace pg_gateway::test {

namespace {

// Most of a case is waiting.
constexpr std::size_t kAtOnce = 4;
// A case that takes longer hangs: SIGALRM ends it.
#ifdef __SANITIZE_ADDRESS__
constexpr unsigned kDeadlineSeconds = 400;
#else
constexpr unsigned kDeadlineSeconds = 60;
#endif
constexpr unsigned kMostTimesOfOne = 40;

const char* setting(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

// So many times of `count`, at equal distances.
std::vector<unsigned> times_of(unsigned count) {
  const unsigned wanted = std::min(count, kMostTimesOfOne);
  std::vector<unsigned> times;
  for (unsigned i = 0; i < wanted; ++i) times.push_back(1 + i * count / wanted);
  return times;
}

}  // namespace

// In memory that the tester shares with the process.
struct FaultCases::Outcome {
  bool struck = false;
  bool refused = false;
  std::uint64_t lost = 0;
  std::uint64_t calls = 0;
  std::array<char, 2000> problem{};
  std::array<char, 1 << 16> list{};  // lines of count and call
};

// Processes, each with one case.
class FaultCases::Runner {
 public:
  Runner() {
    memory_ = ::mmap(nullptr, sizeof(Outcomes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                     -1, 0);
    outcomes_ = new (memory_) Outcomes;
  }
  ~Runner() { ::munmap(memory_, sizeof(Outcomes)); }
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  bool full() const { return std::find(pids_.begin(), pids_.end(), 0) == pids_.end(); }
  bool empty() const {
    return std::all_of(pids_.begin(), pids_.end(), [](pid_t pid) { return pid == 0; });
  }

  // Precondition: not full.
  void start(const Case& wanted, std::uint64_t most_calls) {
    const auto place =
        static_cast<std::size_t>(std::find(pids_.begin(), pids_.end(), 0) - pids_.begin());
    (*outcomes_)[place] = {};
    cases_[place] = wanted;
    pids_[place] = ::fork();
    if (pids_[place] != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::alarm(kDeadlineSeconds);
    live(wanted, most_calls, (*outcomes_)[place]);
    ::_exit(0);
  }

  // Waits for one; `visit` gets its case, its outcome and its status.
  template <typename Visit>
  void wait(Visit visit) {
    int status = 0;
    const pid_t ended = ::waitpid(-1, &status, 0);
    const auto found = std::find(pids_.begin(), pids_.end(), ended);
    if (ended <= 0 || found == pids_.end()) return;
    *found = 0;
    const auto place = static_cast<std::size_t>(found - pids_.begin());
    visit(cases_[place], (*outcomes_)[place], status);
  }

 private:
  using Outcomes = std::array<Outcome, kAtOnce>;

  // In the process.
  static void live(const Case& wanted, std::uint64_t most_calls, Outcome& outcome) {
    const std::size_t before = open_fds().size();
    arm_fault(wanted.fault);
    std::string problem;
    {
      FaultRig rig;
      fault_courses()[wanted.course].run(rig);
      problem = rig.finish(most_calls);
      outcome.lost = rig.lost();
      outcome.refused = rig.was_refused();
    }
    const std::size_t after = open_fds().size();
    if (problem.empty() && after != before) {
      problem =
          std::to_string(after) + " descriptors are open, and " + std::to_string(before) + " were";
    }
    outcome.struck = fault_has_struck();
    outcome.calls = number_of_calls();
    std::snprintf(outcome.problem.data(), outcome.problem.size(), "%s", problem.c_str());
    std::string list;
    for (const auto& [call, count] : calls_made()) {
      list += std::to_string(count) + " " + call + "\n";
    }
    std::snprintf(outcome.list.data(), outcome.list.size(), "%s", list.c_str());
  }

  void* memory_ = nullptr;
  Outcomes* outcomes_ = nullptr;
  std::array<pid_t, kAtOnce> pids_{};  // 0: free
  std::array<Case, kAtOnce> cases_;
};

bool FaultCases::list_calls() {
  const std::size_t courses = fault_courses().size();
  calls_.resize(courses);
  totals_.resize(courses);
  for (std::size_t course = 0; course < courses; ++course) {
    Runner runner;
    runner.start({course, {}}, UINT64_MAX);
    runner.wait([&](const Case&, const Outcome& outcome, int status) {
      totals_[course] = outcome.calls;
      std::istringstream lines(outcome.list.data());
      unsigned count = 0;
      for (std::string call; lines >> count && std::getline(lines >> std::ws, call);) {
        calls_[course][call] = count;
      }
      if (status == 0 && outcome.problem[0] == '\0') return;
      fail(fault_courses()[course].name + " fails by itself, with status " +
           std::to_string(status) + ": " + outcome.problem.data());
    });
  }
  return failures_.empty();
}

std::vector<FaultCases::Case> FaultCases::all_cases() const {
  std::vector<Case> cases;
  for (std::size_t course = 0; course < calls_.size(); ++course) {
    for (const auto& [call, count] : calls_[course]) {
      for (const int error : errors_of(call)) {
        for (const unsigned nth : times_of(count)) cases.push_back({course, {call, error, nth}});
      }
    }
  }
  return cases;
}

// One of each call and error.
std::vector<FaultCases::Case> FaultCases::sample(std::uint64_t seed) const {
  std::mt19937_64 random(seed);
  std::vector<Case> cases = all_cases();
  std::shuffle(cases.begin(), cases.end(), random);
  const auto key = [](const Case& one) { return std::tie(one.fault.call, one.fault.error); };
  std::stable_sort(cases.begin(), cases.end(),
                   [&](const Case& one, const Case& other) { return key(one) < key(other); });
  cases.erase(
      std::unique(cases.begin(), cases.end(),
                  [&](const Case& one, const Case& other) { return key(one) == key(other); }),
      cases.end());
  return cases;
}

void FaultCases::judge(const Case& tried, const Outcome& outcome, int status) {
  ++figures_.cases;
  figures_.struck += outcome.struck ? 1 : 0;
  figures_.refused += outcome.refused ? 1 : 0;
  std::string problem = outcome.problem.data();
  if (WIFSIGNALED(status)) {
    problem = WTERMSIG(status) == SIGALRM ? "it hangs"
                                          : "died of signal " + std::to_string(WTERMSIG(status));
  } else if (WEXITSTATUS(status) != 0) {
    problem = "exited with " + std::to_string(WEXITSTATUS(status));
  }
  if (problem.empty()) {
    ++figures_.passed;
    figures_.lost += outcome.lost;
    return;
  }
  fail("PG_GATEWAY_FAULT='" + fault_courses()[tried.course].name + ": " + tried.fault.text() +
       "': " + problem);
}

// Told at once: all of them take long.
void FaultCases::fail(const std::string& what) {
  std::printf("%s\n", what.c_str());
  std::fflush(stdout);
  failures_.push_back(what);
}

void FaultCases::run(const std::vector<Case>& cases) {
  Runner runner;
  const auto visit = [this](const Case& tried, const Outcome& outcome, int status) {
    judge(tried, outcome, status);
  };
  for (const Case& next : cases) {
    if (runner.full()) runner.wait(visit);
    // Waiting for resources to come back takes calls too.
    runner.start(next, 3 * totals_[next.course] + 1000);
  }
  while (!runner.empty()) runner.wait(visit);
}

void FaultCases::try_them() {
  if (!list_calls()) return;
  if (const std::string one = setting("PG_GATEWAY_FAULT"); !one.empty()) {
    const std::size_t colon = one.find(": ");
    for (std::size_t course = 0; course < calls_.size(); ++course) {
      if (fault_courses()[course].name != one.substr(0, colon)) continue;
      run({{course, Fault::parse(one.substr(colon + 2))}});
    }
    return;
  }
  const bool all = std::string(setting("PG_GATEWAY_FAULTS")) == "all";
  const std::string wanted = setting("PG_GATEWAY_FAULT_SEED");
  const std::uint64_t seed = wanted.empty() ? std::random_device()() : std::stoull(wanted);
  chosen_ = all ? "all" : "PG_GATEWAY_FAULT_SEED=" + std::to_string(seed);
  run(all ? all_cases() : sample(seed));
}

}  // namespace pg_gateway::test
