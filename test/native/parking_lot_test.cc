// SPDX-License-Identifier: MIT
#include "parking_lot.h"

#include <doctest/doctest.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "forked.h"
#include "shelf.h"
#include "support.h"

using namespace pg_gateway;
using test::Shelf;

namespace {

// What systems without a setting of their own give: doubled by the kernel, 554 messages.
constexpr int kDefaultBuffer = 212'992;
// A queue of some 26 messages.
constexpr int kSmallBuffer = 10 * 1024;

ino_t inode_of(int fd) {
  struct stat facts {};
  return ::fstat(fd, &facts) == 0 ? facts.st_ino : 0;
}

// Who is parked, by slot. Each has a descriptor of his own if `distinct`.
class Guests final : public ParkingLot::Residents {
 public:
  explicit Guests(ParkingLot& lot, bool distinct = true) : lot_(lot), distinct_(distinct) {}

  SysError arrive(std::uint32_t slot) {
    ParkedMessage message;
    message.slot = slot;
    message.id = next_id_++;
    UniqueFd own(distinct_ ? ::eventfd(0, EFD_CLOEXEC) : ::dup(0));
    Result<ParkingTicket> ticket = lot_.park(message, std::array{own.get()}.data(), 1);
    if (!ticket.ok()) return ticket.error();
    guests_[slot] = {ticket.value(), message.id, inode_of(own.get())};
    return {};
  }
  // With two descriptors, as a session that has a server.
  SysError arrive_twofold(std::uint32_t slot) {
    ParkedMessage message;
    message.slot = slot;
    message.id = next_id_++;
    const UniqueFd client(::eventfd(0, EFD_CLOEXEC));
    const UniqueFd backend(::eventfd(0, EFD_CLOEXEC));
    Result<ParkingTicket> ticket =
        lot_.park(message, std::array{client.get(), backend.get()}.data(), 2);
    if (!ticket.ok()) return ticket.error();
    guests_[slot] = {ticket.value(), message.id, inode_of(client.get())};
    return {};
  }
  void leave(std::uint32_t slot) {
    const ParkingTicket ticket = guests_.at(slot).ticket;
    guests_.erase(slot);
    lot_.died(ticket, *this);
  }
  bool lives(ParkedKind kind, std::uint32_t slot, ParkingTicket ticket) const override {
    const auto found = guests_.find(slot);
    return kind == ParkedKind::kSession && found != guests_.end() && found->second.ticket == ticket;
  }
  void moved(ParkedKind, std::uint32_t slot, ParkingTicket to) override {
    guests_.at(slot).ticket = to;
    ++moves_;
  }

  // Whether the next process finds each of them, in the order of their ids where none was moved.
  bool all_found(const Shelf& shelf) const {
    Shelf unused;
    const std::unique_ptr<FdStore> store = unused.store();
    ParkingLot next(*store);
    std::set<KeptId> found;
    StoredFds stored = shelf.copies();
    for (auto& [number, pair] : stored.segments) {
      const auto visit = [&](const ParkedMessage& message, ParkingTicket,
                             std::array<UniqueFd, kMaxParkedFds> fds) {
        const auto guest = guests_.find(message.slot);
        if (guest == guests_.end() || guest->second.id != message.id) return;
        if (!distinct_ || inode_of(fds[0].get()) == guest->second.inode) found.insert(message.id);
      };
      if (next.adopt(number, std::move(pair.first), std::move(pair.second), visit)) return false;
    }
    return found.size() == guests_.size();
  }
  std::size_t count() const { return guests_.size(); }
  std::size_t moves() const { return moves_; }

 private:
  struct Guest {
    ParkingTicket ticket = 0;
    KeptId id = 0;
    ino_t inode = 0;
  };
  ParkingLot& lot_;
  bool distinct_;
  std::map<std::uint32_t, Guest> guests_;
  KeptId next_id_ = 1;
  std::size_t moves_ = 0;
};

// A store that fails at some of its calls.
class UnsureStore final : public FdStore {
 public:
  explicit UnsureStore(Shelf& shelf) : store_(shelf.store()) {}
  SysError keep(const std::string& name, int fd) override {
    ++calls_;
    if (fail_in_ > 0 && --fail_in_ == 0) return {"sendmsg", EAGAIN};
    if (refuses_) return {"sendmsg", ECONNREFUSED};
    return store_->keep(name, fd);
  }
  void drop(const std::string& name) override { store_->drop(name); }
  void fail_in(int calls) { fail_in_ = calls; }
  void refuse(bool refuses) { refuses_ = refuses; }
  int calls() const { return calls_; }

 private:
  std::unique_ptr<FdStore> store_;
  int fail_in_ = 0;
  bool refuses_ = false;
  int calls_ = 0;
};

struct Lot {
  explicit Lot(int send_buffer, bool distinct = true)
      : lot(store, send_buffer), guests(lot, distinct) {}
  Shelf shelf;
  UnsureStore store{shelf};
  ParkingLot lot;
  Guests guests;
};

}  // namespace

TEST_CASE("parking lot: queues come as they are needed, and go") {
  Lot all(kSmallBuffer);
  for (std::uint32_t slot = 0; slot < 200; ++slot) REQUIRE_FALSE(all.guests.arrive(slot));
  CHECK(all.lot.messages() == 200);
  CHECK(all.lot.segments() > 5);
  CHECK(all.shelf.kept().size() == 2 * all.lot.segments());
  CHECK(all.guests.all_found(all.shelf));
  SUBCASE("from the front") {
    for (std::uint32_t slot = 0; slot < 200; ++slot) all.guests.leave(slot);
    CHECK(all.guests.moves() == 0);
  }
  SUBCASE("from the end") {
    for (std::uint32_t slot = 200; slot-- > 0;) all.guests.leave(slot);
  }
  SUBCASE("every second one, then the others") {
    for (std::uint32_t slot = 0; slot < 200; slot += 2) all.guests.leave(slot);
    CHECK(all.guests.all_found(all.shelf));
    for (std::uint32_t slot = 1; slot < 200; slot += 2) all.guests.leave(slot);
  }
  CHECK(all.lot.messages() == 0);
  CHECK(all.lot.dead() == 0);
  CHECK(all.lot.segments() == 1);
  CHECK(all.shelf.kept().size() == 2);
}

TEST_CASE("parking lot: who stays is moved, so that the dead behind him can leave") {
  Lot all(kDefaultBuffer);
  REQUIRE_FALSE(all.guests.arrive(0));
  std::size_t most = 0;
  for (std::uint32_t slot = 1; slot <= 10'000; ++slot) {
    REQUIRE_FALSE(all.guests.arrive(slot));
    all.guests.leave(slot);
    most = std::max(most, all.lot.messages());
  }
  CHECK(most < 40);
  CHECK(all.guests.moves() > 0);
  CHECK(all.lot.segments() == 1);
  CHECK(all.guests.all_found(all.shelf));
}

TEST_CASE("parking lot: in whatever order they come and go, all who are there are found") {
  const unsigned seed = std::random_device()();
  CAPTURE(seed);
  std::mt19937 random(seed);
  Lot all(kSmallBuffer);
  std::vector<std::uint32_t> here;
  std::uint32_t next = 0;
  std::size_t most_messages = 0;
  for (int i = 0; i < 10'000; ++i) {
    if (here.size() < 10 + random() % 100) {
      REQUIRE_FALSE(all.guests.arrive(next));
      here.push_back(next++);
    } else {
      std::swap(here[random() % here.size()], here.back());
      all.guests.leave(here.back());
      here.pop_back();
    }
    if (i % 500 == 0) CHECK(all.guests.all_found(all.shelf));
    most_messages = std::max(most_messages, all.lot.messages());
  }
  // No more dead ones than living ones, but for a few in each segment.
  CHECK(most_messages < 2 * 110 + 16 * 8);
  CHECK(all.shelf.kept().size() == 2 * all.lot.segments());
  for (const std::uint32_t slot : here) all.guests.leave(slot);
  CHECK(all.lot.messages() == 0);
  CHECK(all.shelf.kept().size() == 2);
}

TEST_CASE("parking lot: ten thousand fit with the usual settings, and are read in no time") {
  Lot all(kDefaultBuffer, false);
  for (std::uint32_t slot = 0; slot < 10'000; ++slot) REQUIRE_FALSE(all.guests.arrive(slot));
  CHECK(all.lot.segments() <= 20);
  const std::int64_t begun = monotonic_ns();
  CHECK(all.guests.all_found(all.shelf));
  CHECK(monotonic_ns() - begun < 1'000'000'000);
  for (std::uint32_t slot = 0; slot < 10'000; ++slot) all.guests.leave((slot * 7919) % 10'000);
  CHECK(all.lot.messages() == 0);
  CHECK(all.lot.segments() == 1);
}

TEST_CASE("parking lot: a store that fails leaves no half of a queue behind") {
  for (const int call : {1, 2}) {
    CAPTURE(call);
    Lot all(kSmallBuffer);
    all.store.fail_in(call);
    CHECK(all.guests.arrive(0).code == EAGAIN);
    CHECK(all.shelf.kept().empty());
    CHECK(all.lot.segments() == 0);
    REQUIRE_FALSE(all.guests.arrive(0));
    CHECK(all.guests.all_found(all.shelf));
    // Names are not used again: the manager may still have the first.
    CHECK(all.shelf.kept().contains("lot-1-in"));
  }
}

TEST_CASE("parking lot: a store that goes on refusing is asked now and then, and used again") {
  Lot all(kSmallBuffer);
  all.store.refuse(true);
  const std::int64_t begun = monotonic_ns();
  int asked = 0;
  int paused = 0;
  while (monotonic_ns() - begun < 100 * 1'000'000) {
    CHECK(all.guests.arrive(0).code == ECONNREFUSED);
    ++asked;
    if (all.lot.pauses()) ++paused;
  }
  // The first twice at once; then after 10, 20, 40 and 80 ms.
  CHECK(all.store.calls() >= 3);
  CHECK(all.store.calls() <= 6);
  CHECK(paused > asked / 2);
  CHECK(all.lot.segments() == 0);
  CHECK(all.shelf.kept().empty());
  all.store.refuse(false);
  CHECK(test::eventually([&] { return !all.guests.arrive(0); }));
  CHECK_FALSE(all.lot.pauses());
  CHECK(all.guests.all_found(all.shelf));
}

TEST_CASE("parking lot: a queue that has room is used while the store refuses another") {
  Lot all(kSmallBuffer);
  std::uint32_t slot = 0;
  REQUIRE_FALSE(all.guests.arrive(slot++));
  all.store.refuse(true);
  while (!all.guests.arrive(slot)) ++slot;
  for (int i = 0; i < 3; ++i) CHECK(all.guests.arrive(slot));
  CHECK(all.lot.pauses());
  all.guests.leave(0);
  CHECK_FALSE(all.lot.pauses());
  CHECK_FALSE(all.guests.arrive(slot));
  CHECK(all.guests.all_found(all.shelf));
}

TEST_CASE("parking lot: a process that has too few descriptors is told so, and loses nothing") {
  Lot all(kSmallBuffer);
  for (std::uint32_t slot = 0; slot < 5; ++slot) REQUIRE_FALSE(all.guests.arrive_twofold(slot));
  for (const unsigned spare : {4U, 5U}) {  // between two messages, and within one
    CAPTURE(spare);
    Shelf unused;
    const std::unique_ptr<FdStore> store = unused.store();
    ParkingLot next(*store);
    StoredFds stored = all.shelf.copies();
    auto& [number, pair] = *stored.segments.begin();
    std::vector<std::array<UniqueFd, kMaxParkedFds>> held;
    const test::FdExhaustion few(spare);
    const SysError error = next.adopt(
        number, std::move(pair.first), std::move(pair.second),
        [&](const ParkedMessage&, ParkingTicket, std::array<UniqueFd, kMaxParkedFds> fds) {
          held.push_back(std::move(fds));
        });
    CHECK(error.code == EMFILE);
    CHECK(passes(error));
    CHECK(held.size() == 2);
  }
  CHECK(all.guests.all_found(all.shelf));
}

TEST_CASE("parking lot: out of descriptors") {
  Lot all(kSmallBuffer);
  REQUIRE_FALSE(all.guests.arrive(0));
  for (std::uint32_t slot = 1; slot < 26; ++slot) (void)all.guests.arrive(slot);
  {
    const test::FdExhaustion none(1);  // for the guest
    std::uint32_t slot = 26;
    SysError error;
    while (!(error = all.guests.arrive(slot))) ++slot;
    CHECK(error.code == EMFILE);  // of another queue
    // The first would have to be moved, and cannot be peeked at with its descriptors.
    const test::FdExhaustion nothing(0);
    for (std::uint32_t dead = 1; dead < 24; ++dead) all.guests.leave(dead);
    CHECK(all.guests.moves() == 0);
  }
  CHECK(all.guests.all_found(all.shelf));
  all.guests.leave(24);
  CHECK(all.guests.moves() > 0);
  CHECK(all.guests.all_found(all.shelf));
}

TEST_CASE("parking lot: more descriptors in flight than the user may have" *
          doctest::skip(::geteuid() != 0)) {
  const std::string problem = test::run_forked(0, 1, 1, [](std::uint64_t) -> std::string {
    Lot all(kDefaultBuffer, false);
    // Of this thread alone, past libc; nobody else is this user (unix(7), ETOOMANYREFS).
    constexpr uid_t kNobodyElse = 3'999'999'999;
    const rlimit few{64, 64};
    if (::setrlimit(RLIMIT_NOFILE, &few) != 0 ||
        ::syscall(SYS_setresuid, kNobodyElse, kNobodyElse, kNobodyElse) != 0) {
      return "setresuid";
    }
    SysError error;
    std::uint32_t slot = 0;
    while (slot < 1000 && !(error = all.guests.arrive(slot))) ++slot;
    if (error.code != ETOOMANYREFS) return "error " + std::to_string(error.code);
    if (slot < 32) return "only " + std::to_string(slot);
    if (!all.guests.all_found(all.shelf)) return "not all were found";
    for (std::uint32_t gone = 0; gone < 10; ++gone) all.guests.leave(gone);
    if (error = all.guests.arrive(slot)) return "still " + error.text();
    return all.guests.all_found(all.shelf) ? "" : "not all were found after";
  });
  CHECK(problem == "");
}

TEST_CASE("parking lot: a queue that nobody reads any more is no hindrance") {
  Lot first(kSmallBuffer);
  REQUIRE_FALSE(first.guests.arrive(0));
  StoredFds stored = first.shelf.copies();
  Lot next(kSmallBuffer);
  auto& [number, pair] = *stored.segments.begin();
  REQUIRE_FALSE(next.lot.adopt(number, std::move(pair.first), std::move(pair.second),
                               [](const ParkedMessage&, ParkingTicket, auto) {}));
  ::shutdown(first.shelf.kept().at("lot-0-out").get(), SHUT_RDWR);
  REQUIRE_FALSE(next.guests.arrive(1));
  CHECK(next.guests.all_found(next.shelf));
}

TEST_CASE("parking lot: the highest number is followed by the lowest that is free") {
  Lot first(kSmallBuffer);
  REQUIRE_FALSE(first.guests.arrive(0));
  StoredFds stored = first.shelf.copies();
  Lot next(kSmallBuffer);
  auto& [number, pair] = *stored.segments.begin();
  REQUIRE_FALSE(next.lot.adopt(ParkingLot::kMaxNumber, std::move(pair.first),
                               std::move(pair.second),
                               [](const ParkedMessage&, ParkingTicket, auto) {}));
  for (std::uint32_t slot = 1; slot < 60; ++slot) REQUIRE_FALSE(next.guests.arrive(slot));
  CHECK(next.shelf.kept().contains("lot-0-in"));
  CHECK(next.shelf.kept().contains("lot-1-in"));
}
