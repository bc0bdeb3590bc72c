// Judge 1 of the validation corpus: our validator.
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "energysites/v1/configurations.pb.h"
#include "energysites/v1/live_data.pb.h"
#include "energysites/v1/sites.pb.h"
#include "google/protobuf/dynamic_message.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "tests/validation/corpus.pb.h"
#include "validation/validator.h"

namespace energysites {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr const char* kFiles[] = {"sites", "configurations", "live_data", "live_data_streams",
                                  "live_data_summaries"};

test::Corpus ReadCorpus(const std::string& name) {
  const std::string path = absl::StrCat(CORPUS_DIR "/corpus_", name, ".textproto");
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  test::Corpus corpus;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text.str(), &corpus)) << path;
  return corpus;
}

std::unique_ptr<Message> Unpack(const google::protobuf::Any& any) {
  std::string type_name;
  EXPECT_TRUE(google::protobuf::Any::ParseAnyTypeUrl(any.type_url(), &type_name));
  const auto* type =
      google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(type_name);
  std::unique_ptr<Message> message(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
  EXPECT_TRUE(message->ParseFromString(any.value()));
  return message;
}

// Returns the last field of a path such as `site.name`, and in `message` the message that has it.
const FieldDescriptor* Resolve(const std::string& path, Message** message) {
  const std::vector<std::string> names = absl::StrSplit(path, '.');
  for (size_t i = 0; i + 1 < names.size(); ++i) {
    *message = (*message)->GetReflection()->MutableMessage(
        *message, (*message)->GetDescriptor()->FindFieldByName(names[i]));
  }
  return (*message)->GetDescriptor()->FindFieldByName(names.back());
}

// Adds the element `index` of `from`'s list to the same list of `to`.
void CopyElement(const Message& from, const FieldDescriptor* list, int index, Message* to) {
  const google::protobuf::Reflection& reflection = *from.GetReflection();
  if (list->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    reflection.AddMessage(to, list)->CopyFrom(reflection.GetRepeatedMessage(from, list, index));
  } else {
    reflection.AddInt64(to, list, reflection.GetRepeatedInt64(from, list, index));
  }
}

void CopyFirst(const std::string& path, int copies, Message* request) {
  const FieldDescriptor* list = Resolve(path, &request);
  const std::unique_ptr<Message> before(request->New());
  before->CopyFrom(*request);
  request->GetReflection()->ClearField(request, list);
  for (int i = 1; i < copies; ++i) CopyElement(*before, list, 0, request);
  const int size = before->GetReflection()->FieldSize(*before, list);
  for (int i = 0; i < size; ++i) CopyElement(*before, list, i, request);
}

std::unique_ptr<Message> MakeRequest(const test::Corpus& corpus, const test::Case& it) {
  std::unique_ptr<Message> request;
  for (const test::Base& base : corpus.bases()) {
    if (base.name() == it.base()) request = Unpack(base.request());
  }
  EXPECT_EQ(request == nullptr, it.base().empty()) << it.name();
  if (it.has_request()) {
    std::unique_ptr<Message> change = Unpack(it.request());
    if (request == nullptr) {
      request = std::move(change);
    } else {
      request->MergeFrom(*change);
    }
  }
  for (const std::string& path : it.clear()) {
    Message* message = request.get();
    const FieldDescriptor* field = Resolve(path, &message);
    message->GetReflection()->ClearField(message, field);
  }
  for (const test::LongText& long_text : it.long_texts()) {
    std::string text;
    for (int i = 0; i < long_text.times(); ++i) text += long_text.text();
    Message* message = request.get();
    const FieldDescriptor* field = Resolve(long_text.field(), &message);
    message->GetReflection()->SetString(message, field, text);
  }
  if (it.copies() > 1) {
    CopyFirst(it.copied().empty() ? "entries" : it.copied(), it.copies(), request.get());
  }
  return request;
}

std::multiset<std::string> Expected(const test::Case& it) {
  std::multiset<std::string> expected;
  for (const test::Violation& violation : it.violations()) {
    expected.insert(absl::StrCat(violation.field(), " ", violation.rule_id()));
  }
  return expected;
}

// Returns every request type of the contract. Naming a message of each file here is also what
// links the files in, so that the corpus can be parsed.
std::set<const google::protobuf::Descriptor*> RequestTypes() {
  std::set<const google::protobuf::Descriptor*> types;
  for (const auto* file : {v1::Site::descriptor()->file(), v1::Configuration::descriptor()->file(),
                           v1::LiveDataEntry::descriptor()->file()}) {
    for (int s = 0; s < file->service_count(); ++s) {
      for (int m = 0; m < file->service(s)->method_count(); ++m) {
        types.insert(file->service(s)->method(m)->input_type());
      }
    }
  }
  return types;
}

TEST(CorpusTest, OurValidatorAgrees) {
  const std::set<const google::protobuf::Descriptor*> request_types = RequestTypes();
  std::map<const google::protobuf::Descriptor*, Validator> validators;
  std::set<std::string> names;
  int valid = 0;
  for (const char* file : kFiles) {
    const test::Corpus corpus = ReadCorpus(file);
    for (const test::Case& it : corpus.cases()) {
      EXPECT_TRUE(names.insert(it.name()).second) << "two cases are called " << it.name();
      const std::unique_ptr<Message> request = MakeRequest(corpus, it);
      auto validator = validators.find(request->GetDescriptor());
      if (validator == validators.end()) {
        auto compiled = Validator::Compile(*request->GetDescriptor());
        ASSERT_TRUE(compiled.ok()) << compiled.status();
        validator = validators.emplace(request->GetDescriptor(), *compiled).first;
      }
      std::multiset<std::string> found;
      for (const Violation& violation : validator->second.Validate(*request)) {
        found.insert(absl::StrCat(violation.field, " ", violation.rule_id));
        EXPECT_FALSE(violation.message.empty()) << it.name();
        EXPECT_LT(violation.message.size(), 300u) << it.name();
      }
      EXPECT_EQ(found, Expected(it)) << it.name();
      if (it.violations().empty()) ++valid;
    }
  }
  EXPECT_GE(names.size(), 300u);
  EXPECT_GE(valid, 100);
  EXPECT_EQ(validators.size(), request_types.size()) << "a request type has no case";
  RecordProperty("cases", static_cast<int>(names.size()));
  RecordProperty("valid", valid);
}

}  // namespace
}  // namespace energysites
