// SPDX-License-Identifier: MIT
#include "session_table.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "event_tag.h"

namespace pg_gateway {

namespace {

// A slot with a live session in it.
std::uint32_t occupy(SessionTable& table) {
  const std::uint32_t slot = table.allocate();
  table[slot].transition(SessionState::kRejecting);
  return slot;
}

void vacate(SessionTable& table, std::uint32_t slot) {
  table[slot].transition(SessionState::kClosing);
  table[slot].transition(SessionState::kFree);
  table.free(slot);
}

}  // namespace

TEST_CASE("event tags come back as they were packed") {
  const EventTag tags[] = {
      {EventKind::kClient, 0, 0},
      {EventKind::kBackend, 1, 7},
      {EventKind::kListener, EventTag::kMaxSlot, 0xffffffff},
      {EventKind::kMailbox, 12345, 0x80000000},
  };
  for (const EventTag& tag : tags) {
    const EventTag back = EventTag::unpack(tag.pack());
    CHECK(back.kind == tag.kind);
    CHECK(back.slot == tag.slot);
    CHECK(back.generation == tag.generation);
  }
}

TEST_CASE("a freed slot is used again, and its earlier session is not found any more") {
  SessionTable table;
  const std::uint32_t first = occupy(table);
  const std::uint32_t second = occupy(table);
  CHECK(first != second);
  CHECK(table.slots() == 2);
  const SessionRef old{first, table[first].generation};
  CHECK(table.find(old) == &table[first]);
  vacate(table, first);
  CHECK(table.find(old) == nullptr);
  CHECK(occupy(table) == first);
  CHECK(table.find(old) == nullptr);
  CHECK(table.find({first, table[first].generation}) == &table[first]);
  CHECK(table.find({99, 0}) == nullptr);
  CHECK(table.slots() == 2);
}

TEST_CASE("a session's address never changes") {
  SessionTable table;
  const std::uint32_t slot = occupy(table);
  const Session* const address = &table[slot];
  for (int i = 0; i < 1000; ++i) occupy(table);
  CHECK(&table[slot] == address);
}

TEST_CASE("deadlines come due in the order of their times, whatever the order they were set in") {
  SessionTable table;
  DeadlineQueue queue;
  const std::int64_t times[] = {300, 100, 200, 100, 50};
  for (const std::int64_t at : times) {
    const std::uint32_t slot = occupy(table);
    table[slot].deadline_ns = at;
    queue.push(table, at, {slot, table[slot].generation});
  }
  std::vector<std::int64_t> due;
  std::int64_t at = 0;
  std::uint32_t slot = 0;
  while (queue.front(table, at, slot) != nullptr) {
    due.push_back(at);
    queue.pop();
  }
  CHECK(due == std::vector<std::int64_t>{50, 100, 100, 200, 300});
}

TEST_CASE("the deadline of a session that has moved on is nobody's") {
  SessionTable table;
  DeadlineQueue queue;
  const std::uint32_t moved = occupy(table);
  const std::uint32_t gone = occupy(table);
  const std::uint32_t waiting = occupy(table);
  for (const std::uint32_t each : {moved, gone, waiting}) {
    table[each].deadline_ns = 100 + each;
    queue.push(table, table[each].deadline_ns, {each, table[each].generation});
  }
  table[moved].deadline_ns = 500;
  queue.push(table, 500, {moved, table[moved].generation});
  vacate(table, gone);
  std::int64_t at = 0;
  std::uint32_t slot = 0;
  CHECK(queue.front(table, at, slot) == &table[waiting]);
  CHECK(slot == waiting);
  queue.pop();
  CHECK(queue.front(table, at, slot) == &table[moved]);
  CHECK(at == 500);
  queue.pop();
  CHECK(queue.front(table, at, slot) == nullptr);
}

TEST_CASE("behind one that waits for long those that have come and gone take no room") {
  constexpr std::size_t kFew = 1024;
  SessionTable table;
  DeadlineQueue queue;
  const auto wait = [&](std::uint32_t slot, std::int64_t at) {
    table[slot].deadline_ns = at;
    queue.push(table, at, {slot, table[slot].generation});
  };
  const std::uint32_t old = occupy(table);
  wait(old, 1000);
  std::vector<std::uint32_t> waiting;
  for (std::int64_t i = 0; i < 10; ++i) {
    waiting.push_back(occupy(table));
    wait(waiting.back(), 2000 + i);
  }
  std::size_t most = 0;
  for (std::int64_t i = 0; i < 100'000; ++i) {
    const std::uint32_t slot = occupy(table);
    wait(slot, 10'000 + i);
    // Half of them speak before they leave: each has another deadline then.
    if (i % 2 == 0) wait(slot, 500'000 + i);
    table[slot].deadline_ns = 0;
    vacate(table, slot);
    most = std::max(most, queue.size());
  }
  CHECK(table.slots() == 12);
  CHECK(most <= 2 * table.slots() + kFew);
  // Whose deadline is true still has it, once.
  std::vector<std::int64_t> due;
  std::int64_t at = 0;
  std::uint32_t slot = 0;
  while (queue.front(table, at, slot) != nullptr) {
    CHECK(slot == (due.empty() ? old : waiting[due.size() - 1]));
    due.push_back(at);
    queue.pop();
  }
  CHECK(due == std::vector<std::int64_t>{1000, 2000, 2001, 2002, 2003, 2004, 2005, 2006, 2007, 2008,
                                         2009});
}

}  // namespace pg_gateway
