// SPDX-License-Identifier: MIT
// Between the system calls that the test executable defines itself (system_calls.cc) and what
// can happen to one: a kill (crash_points.cc), a failure (fault_points.cc). For these alone.
//
// Not with ThreadSanitizer, which has to see these calls itself.
#pragma once

#include <sys/socket.h>

namespace pg_gateway::test {

#ifdef __SANITIZE_THREAD__
inline constexpr bool kSeesSystemCalls = false;
#else
inline constexpr bool kSeesSystemCalls = true;
#endif

// A system call that is about to be made. The texts are literals.
struct SystemCall {
  const char* name;
  const char* operation = "";  // which of those that the call stands for
  int fd = -1;                 // the socket that it is made for; -1: there is none
};

// crash_points.cc
bool crash_is_armed();
void crash_step(const char* call, const char* side);
// A thread parks a client before it accepts the next.
void note_unparked_client(bool has);
// The message of the parking lot that carries descriptors.
bool is_parking(const msghdr* message);

// fault_points.cc
// What this thread does is counted, and may fail.
bool faults_are_armed_here();
// The errno that this one fails with; 0: it is made. What is true when a call fails so (a
// connection that is gone) is brought about.
int fault_of(const SystemCall& call);
bool is_socket(int fd);

}  // namespace pg_gateway::test
