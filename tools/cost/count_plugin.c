/* QEMU plugin of tools.cost: counts what a 32-bit ARM program executes, apart for code made at run time.
 *
 * Usage: qemu-arm -plugin count_plugin.so,out=FILE PROGRAM. Whenever PROGRAM writes to its standard output, a line of
 * four numbers is added to FILE: instructions and Cortex-M0+ cycles of code in anonymous executable memory (MicroPython
 * keeps native code there), instructions and cycles of all other code; all since the start, the write's not included.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is used of QEMU's plugin API, version 1: Debian's qemu-user comes without the header. */
typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { QEMU_PLUGIN_CB_NO_REGS };
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, void (*)(unsigned, void *), int, void *);
void qemu_plugin_register_vcpu_syscall_cb(
    qemu_plugin_id_t, void (*)(qemu_plugin_id_t, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                               uint64_t, uint64_t, uint64_t));
void qemu_plugin_register_vcpu_syscall_ret_cb(qemu_plugin_id_t,
                                              void (*)(qemu_plugin_id_t, unsigned, int64_t, int64_t));
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

enum { SYS_WRITE = 4, SYS_MMAP2 = 192, PROT_EXECUTE = 4, ANONYMOUS = 0x20, REGIONS = 256 };

/* A translated block: straight code, of which only the last instruction may branch. */
struct block {
    uint64_t start, end;
    unsigned made; /* 1: code made at run time */
    unsigned instructions, cycles;
    unsigned taken; /* more cycles if the branch at its end is taken */
};

static struct { uint64_t instructions, cycles; } counts[2]; /* [made] */
static struct { uint64_t start, end; } made[REGIONS];
static unsigned regions;
static uint64_t mapping; /* length of the executable memory that is being mapped */
static const struct block *last;
static FILE *out;

/* Cycles of an instruction on a Cortex-M0+ with the fast multiplier and memory without wait states (ARM DDI 0484C,
 * section 3.3). Instructions it does not have occur in other code only: they count by their kind. */
static unsigned cycles(const uint8_t *code, size_t size, unsigned *taken)
{
    unsigned h = code[0] | code[1] << 8;
    *taken = 0;
    if (size == 4) {
        unsigned g = code[2] | code[3] << 8;
        if ((h & 0xF800) == 0xF000 && (g & 0xD000) == 0xD000)
            return 3; /* BL */
        if ((h & 0xFE40) == 0xE800)
            return 1 + __builtin_popcount(g); /* LDM, STM */
        return (h & 0xFE00) == 0xF800 || (h & 0xFE00) == 0xE800 ? 2 : 1;
    }
    switch (h >> 12) {
    case 0x4:
        if (h >= 0x4800 || (h & 0xFF00) == 0x4700) /* LDR from the literal pool; BX, BLX */
            return 2;
        return (h & 0xFD87) == 0x4487 ? 2 : 1; /* ADD, MOV to pc */
    case 0x5: case 0x6: case 0x7: case 0x8: case 0x9:
        return 2; /* loads and stores */
    case 0xB:
        if ((h & 0xFE00) == 0xB400) /* PUSH */
            return 1 + __builtin_popcount(h & 0x1FF);
        if ((h & 0xFE00) == 0xBC00) /* POP, and POP with pc */
            return (h & 0x100 ? 3 : 1) + __builtin_popcount(h & 0x1FF);
        *taken = (h & 0xF500) == 0xB100; /* CBZ, CBNZ */
        return 1;
    case 0xC:
        return 1 + __builtin_popcount(h & 0xFF); /* LDM, STM */
    case 0xD:
        *taken = 1; /* conditional branch */
        return 1;
    case 0xE:
        return 2; /* branch */
    }
    return 1;
}

static void execute(unsigned cpu, void *data)
{
    const struct block *block = data;
    if (last && last->end != block->start)
        counts[last->made].cycles += last->taken;
    counts[block->made].instructions += block->instructions;
    counts[block->made].cycles += block->cycles;
    last = block;
}

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    struct block *block = calloc(1, sizeof *block);
    if (!block)
        abort();
    block->start = block->end = qemu_plugin_tb_vaddr(tb);
    block->instructions = qemu_plugin_tb_n_insns(tb);
    for (unsigned i = 0; i < regions; i++)
        block->made |= made[i].start <= block->start && block->start < made[i].end;
    for (unsigned i = 0; i < block->instructions; i++) {
        const struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        block->end += qemu_plugin_insn_size(insn);
        block->cycles += cycles(qemu_plugin_insn_data(insn), qemu_plugin_insn_size(insn), &block->taken);
    }
    qemu_plugin_register_vcpu_tb_exec_cb(tb, execute, QEMU_PLUGIN_CB_NO_REGS, block);
}

static void enter(qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4,
                  uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    mapping = number == SYS_MMAP2 && a3 & PROT_EXECUTE && a4 & ANONYMOUS ? a2 : 0;
    if (number == SYS_WRITE && a1 == 1) {
        fprintf(out, "%llu %llu %llu %llu\n", (unsigned long long)counts[1].instructions,
                (unsigned long long)counts[1].cycles, (unsigned long long)counts[0].instructions,
                (unsigned long long)counts[0].cycles);
        fflush(out);
    }
}

static void leave(qemu_plugin_id_t id, unsigned cpu, int64_t number, int64_t result)
{
    if (mapping && regions < REGIONS) {
        made[regions].start = (uint32_t)result;
        made[regions++].end = (uint32_t)result + mapping;
    }
    mapping = 0;
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc,
                                                               char **argv)
{
    for (int i = 0; i < argc; i++)
        if (!strncmp(argv[i], "out=", 4))
            out = fopen(argv[i] + 4, "w");
    if (!out)
        return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_vcpu_syscall_cb(id, enter);
    qemu_plugin_register_vcpu_syscall_ret_cb(id, leave);
    return 0;
}
