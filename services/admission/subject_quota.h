// A bound on what all callers hold at a time, and a smaller one on what each subject holds.
#ifndef SERVICES_ADMISSION_SUBJECT_QUOTA_H_
#define SERVICES_ADMISSION_SUBJECT_QUOTA_H_

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/status/status.h"

namespace energysites {

// Counts what is held in this process: open streams of one kind, or bytes of answers that clients
// have not taken yet. Safe from any thread; outlives its holdings.
class SubjectQuota {
 public:
  struct Options {
    size_t limit;  // Of all callers together.
    size_t limit_per_subject;
    // The answer to a subject that holds its share.
    absl::Status subject_error;
  };

  // An amount that is held until this is destroyed.
  class Holding {
   public:
    ~Holding();
    Holding(const Holding&) = delete;
    Holding& operator=(const Holding&) = delete;

   private:
    friend class SubjectQuota;
    Holding(SubjectQuota& quota, std::string subject, size_t amount)
        : quota_(quota), subject_(std::move(subject)), amount_(amount) {}

    SubjectQuota& quota_;
    const std::string subject_;
    const size_t amount_;
  };

  explicit SubjectQuota(Options options) : options_(std::move(options)) {}

  // Whether more may be held: Options::subject_error if `subject` holds its share,
  // RESOURCE_EXHAUSTED `QUEUE_FULL` if all together hold the limit. Callers with an empty subject
  // have no share of their own.
  absl::Status CheckRoom(const std::string& subject) const;

  // Holds `amount`, whether there is room or not: for what was begun before the room was gone. Null
  // for zero.
  std::unique_ptr<Holding> Hold(const std::string& subject, size_t amount);

  // Both in one step: makes `holding` hold one.
  absl::Status Take(const std::string& subject, std::unique_ptr<Holding>& holding);

  size_t held() const;

 private:
  absl::Status CheckRoomLocked(const std::string& subject) const;
  std::unique_ptr<Holding> HoldLocked(const std::string& subject, size_t amount);

  const Options options_;
  mutable std::mutex mutex_;
  size_t held_ = 0;
  std::map<std::string, size_t> held_by_subject_;  // Without zeros.
};

// For streams of one kind, of which each device may have `limit_per_device` open.
SubjectQuota StreamQuota(size_t limit, size_t limit_per_device);

// For the bytes of answers with lists that clients have not taken yet, which gRPC holds until the
// calls end: 32 MiB in all, and 8 MiB of each subject.
SubjectQuota UntakenAnswersQuota();

}  // namespace energysites

#endif  // SERVICES_ADMISSION_SUBJECT_QUOTA_H_
