// Lanes of a frame with ONNX Runtime in C++: the same steps and the same output as lanes.py.
//
// Export a student with the maxima of the map rows, build this file, and run it on a frame of any size:
//   lgad export MODEL student.onnx --row-maxima
//   c++ -std=c++17 -O2 lanes.cpp -I ONNXRUNTIME/include -L ONNXRUNTIME/lib -lonnxruntime -o lanes
//   ./lanes student.onnx frame.ppm
//
// The frame is a binary PPM file (P6, 8 bits), so that no image library is needed:
//   ffmpeg -i frame.jpg frame.ppm

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <onnxruntime_cxx_api.h>

struct Frame {
    int height, width;
    std::vector<uint8_t> pixels;  // height x width x 3, RGB
};

// Read a binary PPM file.
Frame read_ppm(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::string magic;
    int width = 0, height = 0, largest = 0;
    file >> magic >> width >> height >> largest;
    file.get();  // one white space before the pixels
    if (magic != "P6" || width < 1 || height < 1 || width > 1 << 15 || height > 1 << 15 || largest != 255)
        throw std::runtime_error(path + " is no binary PPM file with 8 bits; convert it with ffmpeg.");
    Frame frame{height, width, std::vector<uint8_t>(size_t(height) * width * 3)};
    if (!file.read(reinterpret_cast<char*>(frame.pixels.data()), std::streamsize(frame.pixels.size())))
        throw std::runtime_error(path + " is truncated; copy it again.");
    return frame;
}

// Return number `index` (from 0) after a key of the JSON object that `lgad export` writes.
double number(const std::string& json, const std::string& key, int index = 0) {
    size_t at = json.find("\"" + key + "\"");
    if (at == std::string::npos) throw std::runtime_error("The graph's metadata have no key " + key + ".");
    at = json.find_first_of("-0123456789", at + key.size() + 2);
    for (; index > 0; --index) at = json.find_first_of("-0123456789", json.find(',', at));
    return std::stod(json.substr(at));
}

// Resize by averaging over the area of each new pixel; return planes first, 3 x rows x columns.
std::vector<uint8_t> resize(const Frame& frame, int top, int rows, int columns) {
    std::vector<uint8_t> planes(size_t(3) * rows * columns);
    const double scale_y = double(frame.height - top) / rows, scale_x = double(frame.width) / columns;
    for (int row = 0; row < rows; ++row)
        for (int column = 0; column < columns; ++column) {
            const double y0 = top + row * scale_y, y1 = std::min<double>(y0 + scale_y, frame.height);
            const double x0 = column * scale_x, x1 = std::min<double>(x0 + scale_x, frame.width);
            double sum[3] = {0, 0, 0}, area = 0;
            for (int y = int(y0); y < y1; ++y)
                for (int x = int(x0); x < x1; ++x) {
                    const double part = (std::min(y + 1.0, y1) - std::max<double>(y, y0)) *
                                        (std::min(x + 1.0, x1) - std::max<double>(x, x0));
                    const uint8_t* pixel = &frame.pixels[(size_t(y) * frame.width + x) * 3];
                    for (int channel = 0; channel < 3; ++channel) sum[channel] += part * pixel[channel];
                    area += part;
                }
            for (int channel = 0; channel < 3; ++channel)
                planes[(size_t(channel) * rows + row) * columns + column] =
                    uint8_t(std::lround(sum[channel] / area));
        }
    return planes;
}

int run(const char* graph, const char* picture) {
    Ort::Env environment(ORT_LOGGING_LEVEL_ERROR, "lanes");
    Ort::Session session(environment, graph, Ort::SessionOptions{});
    Ort::AllocatorWithDefaultOptions allocator;
    const auto metadata = session.GetModelMetadata();
    const auto text = [&](const char* key) {
        const auto value = metadata.LookupCustomMetadataMapAllocated(key, allocator);
        if (!value) throw std::runtime_error(std::string("The graph has no metadata ") + key + ".");
        return std::string(value.get());
    };
    const std::string view = text("lgad.view"), decode = text("lgad.decode");
    const int rows = int(number(view, "image_size", 0)), columns = int(number(view, "image_size", 1));

    const Frame frame = read_ppm(picture);
    // nearbyint rounds halves to even, as Python does.
    const int top = std::min(
        int(std::nearbyint(number(view, "crop_top") * frame.height / number(view, "frame_size"))),
        frame.height - 1);
    std::vector<uint8_t> planes = resize(frame, top, rows, columns);
    const int64_t shape[] = {1, 3, rows, columns};
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    const auto input = Ort::Value::CreateTensor<uint8_t>(memory, planes.data(), planes.size(), shape, 4);
    const char* inputs[] = {"image"};
    const char* outputs[] = {"existence", "row_centre", "row_peak"};
    auto found = session.Run(Ort::RunOptions{}, inputs, &input, 1, outputs, 3);
    const float* existence = found[0].GetTensorData<float>();
    const float* centre = found[1].GetTensorData<float>();
    const float* peak = found[2].GetTensorData<float>();

    const int64_t slots = found[0].GetTensorTypeAndShapeInfo().GetShape()[1];
    const double least_peak = number(decode, "peak_threshold"), least = number(decode, "existence_threshold");
    for (int64_t slot = 0; slot < slots; ++slot) {
        std::vector<int> chosen;  // map rows of the lane, bottom first
        for (int row = rows - 1; row >= 0; --row)
            if (peak[slot * rows + row] > least_peak) chosen.push_back(row);
        if (existence[slot] <= least || chosen.size() < number(decode, "least_rows")) continue;
        std::printf("%d %.3f", int(slot) + 1, existence[slot]);
        for (const int row : chosen) {
            const double x = (centre[slot * rows + row] + 0.5) * frame.width / columns - 0.5;
            const double y = (row + 0.5) * (frame.height - top) / rows - 0.5 + top;
            std::printf(" %.2f %.2f", x, y);
        }
        std::printf("\n");
    }
    return 0;
}

int main(int count, char** words) {
    if (count != 3) {
        std::fprintf(stderr, "Give a graph and a frame: lanes student.onnx frame.ppm\n");
        return 2;
    }
    try {
        return run(words[1], words[2]);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
