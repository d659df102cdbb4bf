// What tch does not reach of a TorchScript program: its buffers, and running it with given values in
// the place of those that it holds. No exception leaves this file; an error is a text that
// program_free_text takes back.

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/script.h>

namespace {

using torch::jit::Module;

// Where a module keeps a tensor.
struct Place {
  Module module;
  std::string attribute;
  std::string name;        // as in state_dict
  std::string class_name;  // of the module, without Python's path
  bool is_parameter;
};

}  // namespace

struct Program {
  Module module;
  std::vector<Place> places;
};

namespace {

std::string class_name(const Module &module) {
  const auto name = module.type()->name();
  return name ? name->name() : std::string();
}

std::vector<Place> places_of(const Module &root) {
  std::vector<Place> places;
  for (const auto &named : root.named_modules()) {
    const std::string before = named.name.empty() ? "" : named.name + ".";
    const std::string type = class_name(named.value);
    const auto add = [&](const auto &tensors, bool is_parameter) {
      for (const auto &tensor : tensors) {
        places.push_back({named.value, tensor.name, before + tensor.name, type, is_parameter});
      }
    };
    add(named.value.named_parameters(/*recurse=*/false), true);
    add(named.value.named_buffers(/*recurse=*/false), false);
  }
  return places;
}

void set_training(Module &root, bool train, const std::vector<Place> &places, const uint8_t *frozen) {
  root.train(train);
  if (!train) return;
  for (size_t i = 0; i < places.size(); ++i) {
    if (!frozen[i]) continue;
    const auto object = places[i].module._ivalue();
    const auto slot = object->type()->findAttributeSlot("training");
    if (slot) object->setSlot(*slot, false);
  }
}

// What the program assigned anew, as `self.count = self.count + 1` does, goes into the caller's tensor.
void take_back(const std::vector<Place> &places, at::Tensor **values) {
  torch::NoGradGuard no_grad;
  for (size_t i = 0; i < places.size(); ++i) {
    if (values[i] == nullptr || places[i].is_parameter) continue;
    const at::Tensor now = places[i].module.attr(places[i].attribute).toTensor();
    if (!now.is_same(*values[i])) values[i]->copy_(now);
  }
}

char *text(const std::string &text) { return strdup(text.c_str()); }

template <typename Work>
char *guarded(Work work) {
  try {
    work();
    return nullptr;
  } catch (const c10::Error &error) {
    return text(error.what_without_backtrace());
  } catch (const std::exception &error) {
    return text(error.what());
  } catch (...) {
    return text("an unknown error");
  }
}

}  // namespace

extern "C" {

// Reads a file of torch.jit.save onto a device: -1 for the CPU, else the number of a GPU.
char *program_load(const char *path, int device, Program **program) {
  return guarded([&] {
    const at::Device place = device < 0 ? at::Device(at::kCPU) : at::Device(at::kCUDA, device);
    auto read = std::make_unique<Program>();
    read->module = torch::jit::load(path, place);
    read->places = places_of(read->module);
    *program = read.release();
  });
}

void program_free(Program *program) { delete program; }

void program_free_text(char *text) { free(text); }

size_t program_tensors(const Program *program) { return program->places.size(); }

// The texts belong to the program, the tensor to the caller.
char *program_tensor(const Program *program, size_t index, const char **name, const char **class_name,
                     int *is_parameter, at::Tensor **value) {
  return guarded([&] {
    const Place &place = program->places[index];
    *name = place.name.c_str();
    *class_name = place.class_name.c_str();
    *is_parameter = place.is_parameter;
    *value = new at::Tensor(place.module.attr(place.attribute).toTensor());
  });
}

// Runs `forward` of one tensor with the values given for each place; a null pointer leaves what is there.
// Modules of places that are `frozen` stay in evaluation. The result belongs to the caller.
char *program_forward(Program *program, at::Tensor **values, const uint8_t *frozen, int train,
                      at::Tensor *input, at::Tensor **output) {
  return guarded([&] {
    // The optimising executor compiles anew after its first runs, and fused sums have other last bits.
    torch::jit::setGraphExecutorOptimize(false);
    auto &places = program->places;
    for (size_t i = 0; i < places.size(); ++i) {
      if (values[i] != nullptr) places[i].module.setattr(places[i].attribute, *values[i]);
    }
    set_training(program->module, train != 0, places, frozen);
    const torch::jit::IValue result = program->module.forward({*input});
    TORCH_CHECK(result.isTensor(), "forward gives a ", result.tagKind(), " and no tensor");
    if (train) take_back(places, values);
    *output = new at::Tensor(result.toTensor());
  });
}

}  // extern "C"
