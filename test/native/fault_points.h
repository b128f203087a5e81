// SPDX-License-Identifier: MIT
// Lets one system call of the data plane fail, with an errno that it can give: the test executable
// defines these calls itself (system_calls.cc), so the core is the one that is shipped.
//
// A call is known by who makes it ("worker", or "owner": the thread that the engine belongs to),
// its name, which of its operations it is, and what kind of socket it is for: "worker
// recv.MSG_PEEK/tcp". The table of the errors that each can give is in fault_points.cc, with those
// that are none.
//
// Not with ThreadSanitizer. Until arm_fault() the calls go to the kernel as they are. Any thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "system_calls.h"

namespace pg_gateway::test {

inline constexpr bool kCallsCanFail = kSeesSystemCalls;

// The n-th call of that name fails so. n 0: none does.
struct Fault {
  std::string call;
  int error = 0;
  unsigned nth = 0;

  // "worker epoll_ctl.EPOLL_CTL_ADD,ENOMEM,3"
  std::string text() const;
  // As text() writes it; nth 0 if it is none.
  static Fault parse(const std::string& text);
};

// What that call can fail with, beside what the course of events brings about by itself.
std::vector<int> errors_of(const std::string& call);

// From now on the calls of this process are counted, and that one fails. Buffers that the data
// plane makes become small, so that little fills them.
void arm_fault(const Fault& fault);
// The calls go to the kernel as they are again.
void disarm_faults();
bool fault_has_struck();
// A connection is gone by it.
bool fault_has_ended_connection();
// Which call it was, "recv"; empty: none has failed.
std::string struck_call();
// How often each has been made.
std::map<std::string, unsigned> calls_made();
std::uint64_t number_of_calls();

// What the thread that owns the engine calls meanwhile is the data plane's. Its other calls are the
// test's, and do not fail.
class AsOwner {
 public:
  AsOwner();
  ~AsOwner();
  AsOwner(const AsOwner&) = delete;
  AsOwner& operator=(const AsOwner&) = delete;
};

// While it lives that call fails, once.
class FailingCall {
 public:
  explicit FailingCall(const Fault& fault) { arm_fault(fault); }
  ~FailingCall() { disarm_faults(); }
  FailingCall(const FailingCall&) = delete;
  FailingCall& operator=(const FailingCall&) = delete;
};

}  // namespace pg_gateway::test
