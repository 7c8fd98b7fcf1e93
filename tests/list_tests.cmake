# Names the tests to CTest when it starts, as "NAME: Suite.Test" of the program test_NAME. Reads
# programs, environment, has_cuda and, where CUDA runs on the CPU, path and left_out, a filter of
# tests that would take too long there. Where no GPU is, one line stands for its tests.
file(GLOB gpus /dev/nvidia[0-9]* /dev/dxg)
foreach(program IN LISTS programs)
  string(REGEX REPLACE ".*test_" "" topic ${program})
  if(NOT EXISTS ${program})
    add_test("${topic}: not built" ${program})  # fails
    continue()
  endif()
  set(filter "*${left_out}")
  if(NOT gpus AND NOT path AND NOT topic MATCHES "cuda_host|choose")
    set(filter "-*cuda32*:*cuda64*:*cusparse*:Cuda*")
  endif()
  execute_process(COMMAND ${program} --gtest_list_tests "--gtest_filter=${filter}"
    OUTPUT_VARIABLE lines COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "[^\n]+" lines "${lines}")
  foreach(line IN LISTS lines)
    if(line MATCHES "^([A-Za-z0-9_/]+)\\.")
      set(suite ${CMAKE_MATCH_1})
    elseif(line MATCHES "^  ([A-Za-z0-9_/]+)")
      set(title "${topic}: ${suite}.${CMAKE_MATCH_1}")
      add_test("${title}" ${program} --gtest_filter=${suite}.${CMAKE_MATCH_1})
      set_tests_properties("${title}" PROPERTIES TIMEOUT 600 ENVIRONMENT "${environment}"
        SKIP_REGULAR_EXPRESSION "\\[  SKIPPED \\]")
      if(path AND NOT topic MATCHES "cli|sweep|checkpoint")  # too slow for programs
        set_tests_properties("${title}" PROPERTIES
          ENVIRONMENT_MODIFICATION "LD_LIBRARY_PATH=path_list_prepend:${path}")
      endif()
    endif()
  endforeach()
endforeach()
if(NOT has_cuda OR NOT (gpus OR path))
  set(title "gpu: no GPU is here, or this build has no CUDA: its tests are left out")
  add_test("${title}" false)
  set_tests_properties("${title}" PROPERTIES SKIP_RETURN_CODE 1)
endif()
