// Boost.Interprocess: a map in a mapped file, with the library's own allocator.
// The same program as the others: `load DIR FROM` acknowledges each record with a byte; `check DIR NUMBER` looks.
#include <boost/interprocess/allocators/allocator.hpp>
#include <boost/interprocess/containers/map.hpp>
#include <boost/interprocess/managed_mapped_file.hpp>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <unistd.h>

namespace bi = boost::interprocess;
using Record = std::array<unsigned char, 100>;
using Pair = std::pair<const std::uint64_t, Record>;
using Allocator = bi::allocator<Pair, bi::managed_mapped_file::segment_manager>;
using Map = bi::map<std::uint64_t, Record, std::less<std::uint64_t>, Allocator>;

static Record record(std::uint64_t key) {
    Record bytes;
    std::uint64_t state = key * 0x9e3779b97f4a7c15ull | 1;
    for (auto &byte : bytes) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        byte = static_cast<unsigned char>(state);
    }
    return bytes;
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    std::string role = argv[1], path = std::string(argv[2]) + "/boost";
    std::uint64_t number = std::strtoull(argv[3], nullptr, 10);
    bi::managed_mapped_file file(bi::open_or_create, path.c_str(), 1ull << 30);
    Map *map = file.find_or_construct<Map>("records")(std::less<std::uint64_t>(), file.get_segment_manager());
    if (role == "load") {
        for (std::uint64_t key = number;; key++) {
            map->insert_or_assign(key, record(key));
            if (write(1, "+", 1) != 1) return 1;
        }
    }
    auto has = [&](std::uint64_t key) {
        auto found = map->find(key);
        return found != map->end() && found->second == record(key);
    };
    std::printf("%s\n", has(number / 2) ? "here" : "lost");
    std::fflush(stdout);
    std::uint64_t lost = 0;
    for (std::uint64_t key = 0; key < number; key++) lost += !has(key);
    std::printf("%llu\n", static_cast<unsigned long long>(lost));
    std::fflush(stdout);
    _exit(0);
}
