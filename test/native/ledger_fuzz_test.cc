// SPDX-License-Identifier: MIT
// Whatever becomes of the ledger and of what is parked: the next engine does not crash, no
// session gets a byte of another's or loses one and goes on. At worst it ends.
//
//   PG_GATEWAY_FUZZ_SEED=n   the cases of that seed
//   PG_GATEWAY_FUZZ_CASES=n  so many
#include <doctest/doctest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>

#include "engine.h"
#include "forked.h"
#include "kept_sessions.h"

using namespace pg_gateway;
using test::KeptSessions;
using test::Shelf;

namespace {

using Random = std::mt19937_64;

constexpr std::uint64_t kCases = 1500;
constexpr std::uint64_t kInABatch = 50;

std::uint64_t number(const char* name, std::uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr ? std::stoull(value) : otherwise;
}

// The ledger's memory as words, and where what lies in it (ledger.h and ledger.cc).
class LedgerWords {
 public:
  explicit LedgerWords(const Shelf& shelf) {
    struct stat facts {};
    const int fd = shelf.kept().at(StoredFds::kLedgerName).get();
    ::fstat(fd, &facts);
    bytes_ = static_cast<std::size_t>(facts.st_size);
    void* memory = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    words_ = static_cast<std::uint64_t*>(memory);
  }
  ~LedgerWords() { ::munmap(words_, bytes_); }
  LedgerWords(const LedgerWords&) = delete;
  LedgerWords& operator=(const LedgerWords&) = delete;

  static constexpr std::size_t kHeader = 8;
  static constexpr std::size_t kNote = 3 + Ledger::kMaxNote / 8;
  static constexpr std::size_t kSessions = kHeader + 2 * kNote;
  static constexpr std::size_t kPipes = kSessions + Ledger::kSessions;
  static constexpr std::size_t kAll = kPipes + 2 * Ledger::kPipes;
  // The layout is still what is written here.
  bool as_expected() const { return bytes_ == kAll * 8; }

  std::uint64_t& operator[](std::size_t at) { return words_[at]; }
  std::uint64_t& session(std::size_t slot) { return words_[kSessions + slot]; }
  std::uint64_t& pipe_id(std::size_t slot) { return words_[kPipes + 2 * slot]; }
  std::uint64_t& pipe_owner(std::size_t slot) { return words_[kPipes + 2 * slot + 1]; }

 private:
  std::uint64_t* words_ = nullptr;
  std::size_t bytes_ = 0;
};

constexpr std::size_t kPipesInUse = 7;

// A word that means something.
std::uint64_t& any_word(LedgerWords& words, Random& random) {
  switch (random() % 4) {
    case 0:
      return words[random() % (LedgerWords::kHeader + 5)];  // with the head of the first note
    case 1:
      return words.session(random() % KeptSessions::kKinds);
    case 2:
      return words.pipe_id(random() % kPipesInUse);
    default:
      return words.pipe_owner(random() % kPipesInUse);
  }
}

void damage(LedgerWords& words, Random& random) {
  const auto pipe = [&] { return random() % kPipesInUse; };
  const auto session = [&] { return random() % KeptSessions::kKinds; };
  switch (random() % 12) {
    case 0:
      any_word(words, random) ^= std::uint64_t{1} << random() % 64;
      break;
    case 1:
      any_word(words, random) = random();
      break;
    case 2:
      any_word(words, random) = random() % 32;
      break;
    case 3:
      std::swap(any_word(words, random), any_word(words, random));
      break;
    case 4:
      any_word(words, random) = any_word(words, random);
      break;
    case 5:
      std::swap(words.session(session()), words.session(session()));
      break;
    case 6:
      std::swap(words.pipe_owner(pipe()), words.pipe_owner(pipe()));
      break;
    case 7:
      std::swap(words.pipe_id(pipe()), words.pipe_id(pipe()));
      break;
    case 8: {
      const std::size_t one = pipe();
      const std::size_t other = pipe();
      std::swap(words.pipe_id(one), words.pipe_id(other));
      std::swap(words.pipe_owner(one), words.pipe_owner(other));
      break;
    }
    case 9: {
      const std::size_t from = random() % LedgerWords::kAll;
      const std::size_t to = std::min(from + random() % 4096, LedgerWords::kAll);
      for (std::size_t at = from; at < to; ++at) words[at] = random() % 2 != 0 ? random() : 0;
      break;
    }
    case 10:
      std::memset(&words.session(0), static_cast<int>(random() % 256), KeptSessions::kKinds * 8);
      break;
    default:
      std::memset(&words.pipe_id(0), static_cast<int>(random() % 2 * 255), kPipesInUse * 16);
      break;
  }
}

// What the sessions on the shelf do in the next engine.
std::string take_up(Shelf& shelf, KeptSessions& sessions, bool (&survived)[KeptSessions::kKinds]) {
  Engine engine([](void*) {}, nullptr);
  if (engine.start({1, {}, true, shelf.store(), shelf.copies()})) return "not started";
  std::string problem = sessions.go_on(survived);
  engine.stop(0, true);
  return problem;
}

}  // namespace

TEST_CASE("sessions with bytes in pipes survive, of every kind, an engine or two") {
  Shelf shelf;
  KeptSessions sessions(shelf);
  REQUIRE(LedgerWords(shelf).as_expected());
  for (int round = 0; round < 3; ++round) {
    bool survived[KeptSessions::kKinds] = {};
    REQUIRE(take_up(shelf, sessions, survived) == "");
    for (const bool each : survived) CHECK(each);
  }
}

TEST_CASE("a damaged ledger ends sessions, and never gives one a wrong byte") {
  const std::uint64_t seed = number("PG_GATEWAY_FUZZ_SEED", std::random_device()());
  INFO("PG_GATEWAY_FUZZ_SEED=" << seed);
  const std::string problem =
      test::run_forked(seed, number("PG_GATEWAY_FUZZ_CASES", kCases), kInABatch,
                       [](std::uint64_t of) -> std::string {
                         Random random(of);
                         Shelf shelf;
                         KeptSessions sessions(shelf);
                         {
                           LedgerWords words(shelf);
                           for (auto left = random() % 3; left != ~std::uint64_t{0}; --left) {
                             damage(words, random);
                           }
                         }
                         bool survived[KeptSessions::kKinds] = {};
                         std::string failed = take_up(shelf, sessions, survived);
                         if (!failed.empty()) return failed;
                         return take_up(shelf, sessions, survived);
                       });
  CHECK(problem == "");
}
