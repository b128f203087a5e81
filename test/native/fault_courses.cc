// SPDX-License-Identifier: MIT
#include "fault_courses.h"

namespace pg_gateway::test {

namespace {

constexpr std::uint64_t kLittle = 20'000;
// More than socket buffers and pipes hold here.
constexpr std::uint64_t kTooMuch = 1 << 21;
// More than makes a bulk transfer (relay.h).
constexpr std::uint64_t kBulk = 4 << 20;
// So much that an engine ends in the midst of it.
constexpr std::uint64_t kLongBulk = 24 << 20;

using All = std::vector<Conversation*>;

bool all_of(const All& all, bool (Conversation::*is)() const) {
  for (const Conversation* each : all) {
    if (!(each->*is)()) return false;
  }
  return true;
}

bool are_in(FaultRig& rig, const All& all) {
  return rig.run("all are in", [&] { return all_of(all, &Conversation::introduced); });
}

bool exchange(FaultRig& rig, const All& all, std::uint64_t bytes) {
  for (Conversation* each : all) each->exchange(bytes);
  return rig.run("their bytes", [&] { return all_of(all, &Conversation::delivered); });
}

bool end(FaultRig& rig, const All& all) {
  for (Conversation* each : all) each->finish();
  return rig.run("their end", [&] { return all_of(all, &Conversation::over); });
}

// Clients that do not read and servers that do not: what is under way stays in the pipes.
bool fill_the_pipes(FaultRig& rig, const All& stuck) {
  for (Conversation* each : stuck) {
    each->up().reading = each->down().reading = false;
    each->exchange(kTooMuch);
  }
  return rig.run_until_stuck();
}

bool read_on(FaultRig& rig, const All& stuck) {
  for (Conversation* each : stuck) each->up().reading = each->down().reading = true;
  return rig.run("what was stuck", [&] { return all_of(stuck, &Conversation::delivered); });
}

// One side has said all it will ever say; the other goes on.
bool half_close(FaultRig& rig, Conversation& half) {
  half.up().finish = true;
  return rig.run("a half-close", [&] { return half.lost() || half.up().ended; });
}

void live(FaultRig& rig) {
  rig.route_to_servers();
  Conversation& lasting = rig.open({.requests = "GS"});
  Conversation& stuck = rig.open();
  Conversation& half = rig.open();
  Conversation& aborted = rig.open({.requests = "S"});
  Conversation& local = rig.open_local();
  const All all = {&lasting, &stuck, &half, &aborted, &local};
  if (!are_in(rig, all) || !exchange(rig, all, kLittle)) return;
  if (!fill_the_pipes(rig, {&stuck, &local}) || !half_close(rig, half)) return;
  rig.leave(aborted);
  lasting.down().goal += kBulk;
  if (!rig.run("a bulk transfer", [&] { return lasting.delivered() && aborted.over(); })) return;
  // After it: the last bytes of a bulk transfer, and small messages again.
  if (!exchange(rig, {&lasting}, 100) || !read_on(rig, {&stuck, &local})) return;
  half.down().goal += kLittle;
  (void)end(rig, {&lasting, &stuck, &half, &local});
}

// Clients wait until there is a server that serves them; some are turned away, some cut.
void find_servers(FaultRig& rig) {
  Conversation& held = rig.open();
  Conversation& encrypting = rig.open({.requests = "S"});
  if (!rig.run_until_stuck()) return;
  rig.route_to_nobody();
  const auto failed = [&](std::uint64_t times) {
    return rig.run("connects that fail", [&] {
      return rig.connect_failures() >= times || (held.lost() && encrypting.lost());
    });
  };
  if (!failed(1)) return;
  const std::uint64_t refused = rig.connect_failures();
  rig.route_to_stalled();
  if (!failed(refused + 1)) return;
  rig.route_to_servers();
  Conversation& refused_once = rig.open({.manners = {Manner::kRefuse}});
  Conversation& local = rig.open_local();
  const All all = {&held, &encrypting, &refused_once, &local};
  if (!are_in(rig, all) || !exchange(rig, all, kLittle)) return;

  rig.limit_clients(0);
  rig.will_be_lost();
  Conversation& one_too_many = rig.open({.requests = "S"});
  if (!rig.run("one who is told", [&] { return one_too_many.lost(); })) return;
  rig.limit_clients(UINT32_MAX);

  Conversation& waiting = rig.open({.manners = {Manner::kSilent}});
  if (!rig.run("a silent server", [&] { return waiting.lost() || waiting.servers() == 1; })) return;
  if (!end(rig, {&held, &local})) return;
  // Who is with a server that is not the primary is cut; who was not yet, goes to another.
  for (const Conversation* each : {&encrypting, &refused_once}) {
    if (!each->lost()) rig.will_be_lost();
  }
  rig.route_to_servers(true);
  if (!rig.run("a cut", [&] { return encrypting.lost() && refused_once.lost(); })) return;
  if (are_in(rig, {&waiting}) && exchange(rig, {&waiting}, kLittle)) (void)end(rig, {&waiting});
}

// Sessions come, exchange a little, and go: copies in the parking lot die, those of the sessions
// that stay have to move.
bool come_and_go(FaultRig& rig, int count) {
  for (int i = 0; i < count; ++i) {
    Conversation& brief = rig.open();
    if (!are_in(rig, {&brief}) || !exchange(rig, {&brief}, 100) || !end(rig, {&brief})) {
      return false;
    }
  }
  return true;
}

void hand_over(FaultRig& rig) {
  constexpr int kBrief = 20;
  rig.route_to_servers();
  Conversation& lasting = rig.open({.requests = "S"});
  Conversation& stuck = rig.open();
  Conversation& half = rig.open();
  Conversation& bulk = rig.open();
  Conversation& local = rig.open_local();
  Conversation& stuck_local = rig.open_local();
  const All all = {&lasting, &stuck, &half, &bulk, &local, &stuck_local};
  if (!are_in(rig, all) || !exchange(rig, all, 100) || !come_and_go(rig, kBrief)) return;
  Conversation& starting = rig.open({.manners = {Manner::kSilent}});
  if (!rig.run("a silent server", [&] { return starting.lost() || starting.servers() == 1; })) {
    return;
  }
  if (!fill_the_pipes(rig, {&stuck, &stuck_local}) || !half_close(rig, half)) return;
  rig.withdraw_route();
  Conversation& waiting = rig.open();
  // In the midst of it the socket has a low-water mark.
  bulk.down().goal += kLongBulk;
  if (!rig.run("a bulk transfer", [&] { return bulk.lost() || bulk.down().received > kBulk; }) ||
      !rig.restart()) {
    return;
  }
  if (!rig.run("the rest of it", [&] { return bulk.delivered(); })) return;
  half.down().goal += 100;
  if (!exchange(rig, {&lasting, &local, &bulk}, 100)) return;
  rig.leave(starting);
  rig.route_to_servers();
  if (!are_in(rig, {&waiting}) || !rig.restart()) return;
  if (!exchange(rig, {&waiting, &lasting, &local, &bulk}, 100)) return;
  if (!read_on(rig, {&stuck, &stuck_local})) return;
  (void)end(rig, {&lasting, &stuck, &half, &bulk, &local, &stuck_local, &waiting});
}

}  // namespace

const std::vector<FaultCourse>& fault_courses() {
  static const std::vector<FaultCourse> courses = {
      {"live", live}, {"find_servers", find_servers}, {"hand_over", hand_over}};
  return courses;
}

}  // namespace pg_gateway::test
