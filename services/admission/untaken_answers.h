// Answers that wait to be taken by clients, and how much memory they may have.
#ifndef SERVICES_ADMISSION_UNTAKEN_ANSWERS_H_
#define SERVICES_ADMISSION_UNTAKEN_ANSWERS_H_

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "services/admission/caller.h"

namespace energysites {

// A client that asks for large answers and takes none makes gRPC hold them all, until its calls
// end. Counted are answers that hold lists; others are small. Safe from any thread; outlives its
// answers.
class UntakenAnswers {
 public:
  // Of all callers, and of one subject, where callers have names.
  static constexpr size_t kMostBytes = size_t{32} << 20;
  static constexpr size_t kMostBytesOfSubject = size_t{8} << 20;

  // An answer, until it is taken or given up.
  class Answer {
   public:
    ~Answer();
    Answer(const Answer&) = delete;
    Answer& operator=(const Answer&) = delete;

   private:
    friend class UntakenAnswers;
    Answer(UntakenAnswers& all, std::string subject, size_t bytes)
        : all_(all), subject_(std::move(subject)), bytes_(bytes) {}

    UntakenAnswers& all_;
    const std::string subject_;
    const size_t bytes_;
  };

  // Before an answer is made: RESOURCE_EXHAUSTED if there is no room for more, because of the
  // caller itself (as for the client of a stream that takes its answers too slowly) or of all
  // together. What was begun before may still go beyond.
  absl::Status CheckRoom(const Caller& caller) const;

  // Null for an empty answer.
  std::unique_ptr<Answer> Hold(const Caller& caller, size_t bytes);

 private:
  mutable std::mutex mutex_;
  size_t bytes_ = 0;
  std::map<std::string, size_t> bytes_of_subjects_;  // Of those that hold any.
};

}  // namespace energysites

#endif  // SERVICES_ADMISSION_UNTAKEN_ANSWERS_H_
