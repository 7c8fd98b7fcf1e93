// The main function of the tests. Prints a line for each test, of a failed one also the first
// failure and how many more there were: what comes after the first seldom says more.
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

namespace {

class Printer final : public testing::EmptyTestEventListener {
  void OnTestStart(const testing::TestInfo&) override { failures_ = 0; }

  void OnTestPartResult(const testing::TestPartResult& part) override {
    if (part.skipped()) std::printf("%s\n", part.message());
    if (part.failed() && failures_++ == 0)
      std::printf("%s:%d: %s\n", part.file_name() ? part.file_name() : "?", part.line_number(),
                  part.message());
  }

  void OnTestEnd(const testing::TestInfo& test) override {
    const testing::TestResult& result = *test.result();
    const std::string name = std::string(test.test_suite_name()) + "." + test.name();
    if (failures_ > 1) std::printf("and %d more failures of this test\n", failures_ - 1);
    if (result.Failed()) failed_ += " " + name;
    if (result.Failed() || result.Skipped() || !GTEST_FLAG_GET(brief))
      std::printf("[%s] %s (%lld ms)\n",
                  result.Failed()    ? "  FAILED  "
                  : result.Skipped() ? "  SKIPPED "
                                     : "       OK ",
                  name.c_str(), static_cast<long long>(result.elapsed_time()));
    std::fflush(stdout);
  }

  void OnTestProgramEnd(const testing::UnitTest& all) override {
    std::printf("%d tests passed, %d skipped, %d failed%s%s\n", all.successful_test_count(),
                all.skipped_test_count(), all.failed_test_count(), failed_.empty() ? "" : ":",
                failed_.c_str());
  }

  int failures_ = 0;
  std::string failed_;
};

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  delete listeners.Release(listeners.default_result_printer());
  listeners.Append(new Printer);
  return RUN_ALL_TESTS();
}
