//! What one instruction moves: which places of eight bytes get their value from which others.

use super::frame::Frame;
use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};

/// Something that can hold a vtable's address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Place {
    /// A general register.
    Register(Register),
    /// Eight bytes of a vector register (named by its 512-bit form): 0 is the lowest.
    Lane(Register, u8),
    /// Eight bytes of the frame: base (rsp or rbp) and displacement.
    Slot(Register, i64),
}

/// Which places a place's new value may come from. Of vector instructions that are not known, every lane may
/// come from every lane of every operand.
pub(super) fn transfers(instruction: &Instruction, frame: &Frame) -> Vec<(Place, Vec<Place>)> {
    let target = instruction.op0_register();
    if target.is_vector_register() {
        return vector_transfers(instruction, frame);
    }
    if instruction.mnemonic() == Mnemonic::Mov && target.is_gpr32() && instruction.op1_register().is_gpr32() {
        // At fixed addresses the upper half is zero anyway.
        let source = Place::Register(instruction.op1_register().full_register());
        return vec![(Place::Register(target.full_register()), vec![source])];
    }
    if !target.is_gpr64() {
        return Vec::new();
    }
    let target = Place::Register(target);
    let source = |operand: u32| match instruction.op_kind(operand) {
        OpKind::Register if instruction.op_register(operand).is_gpr64() => {
            Some(Place::Register(instruction.op_register(operand)))
        }
        OpKind::Memory => slot(frame, instruction, 0),
        _ => None,
    };
    match instruction.mnemonic() {
        Mnemonic::Mov => source(1)
            .map(|source| (target, vec![source]))
            .into_iter()
            .collect(),
        Mnemonic::Movq | Mnemonic::Vmovq if instruction.op1_register().is_vector_register() => {
            vec![(target, vec![lane(instruction.op1_register(), 0)])]
        }
        Mnemonic::Pop => vec![(target, vec![Place::Slot(Register::RSP, 0)])],
        Mnemonic::Xchg => {
            let other = source(1);
            other
                .map(|other| vec![(target, vec![other]), (other, vec![target])])
                .unwrap_or_default()
        }
        _ if is_conditional_move(instruction) => {
            // An unknown second source may be loaded: the place is then one or something else.
            let unknown = Place::Slot(Register::None, 0);
            vec![(target, vec![target, source(1).unwrap_or(unknown)])]
        }
        _ => Vec::new(),
    }
}

fn vector_transfers(instruction: &Instruction, frame: &Frame) -> Vec<(Place, Vec<Place>)> {
    let target = instruction.op0_register();
    let operands = instruction.op_count();
    let control = (instruction.op_kind(operands.saturating_sub(1)) == OpKind::Immediate8)
        .then(|| instruction.immediate8());
    // Lane `n` of an operand, be it a register or memory.
    let part = |operand: u32, n: u8| match instruction.op_kind(operand) {
        OpKind::Register if instruction.op_register(operand).is_vector_register() => {
            Some(lane(instruction.op_register(operand), n))
        }
        OpKind::Register if n == 0 && instruction.op_register(operand).is_gpr64() => {
            Some(Place::Register(instruction.op_register(operand)))
        }
        OpKind::Memory => slot(frame, instruction, 8 * i64::from(n)),
        _ => None,
    };
    let to = |n: u8, source: Option<Place>| source.map(|source| (lane(target, n), vec![source]));
    // Two-operand forms combine with the target, three-operand forms with the second operand.
    let (first, second) = if operands - u32::from(control.is_some()) >= 3 {
        (1, 2)
    } else {
        (0, 1)
    };
    let lanes = u8::try_from(target.size() / 8).unwrap_or(2);
    let list: Vec<Option<(Place, Vec<Place>)>> = match (instruction.mnemonic(), control) {
        (Mnemonic::Movq | Mnemonic::Vmovq, _) => vec![to(0, part(1, 0))],
        (Mnemonic::Movsd | Mnemonic::Vmovsd, _) if instruction.op1_kind() == OpKind::Memory => {
            vec![to(0, part(1, 0))]
        }
        (Mnemonic::Movsd | Mnemonic::Vmovsd, _) => vec![to(0, part(second, 0)), to(1, part(first, 1))],
        (Mnemonic::Movhps | Mnemonic::Movhpd | Mnemonic::Vmovhps | Mnemonic::Vmovhpd, _) => {
            vec![to(0, part(first, 0)), to(1, part(second, 0))]
        }
        (Mnemonic::Movlps | Mnemonic::Movlpd | Mnemonic::Vmovlps | Mnemonic::Vmovlpd, _) => {
            vec![to(0, part(second, 0)), to(1, part(first, 1))]
        }
        (
            Mnemonic::Punpcklqdq
            | Mnemonic::Vpunpcklqdq
            | Mnemonic::Unpcklpd
            | Mnemonic::Vunpcklpd
            | Mnemonic::Movlhps
            | Mnemonic::Vmovlhps,
            _,
        ) if lanes == 2 => vec![to(0, part(first, 0)), to(1, part(second, 0))],
        (Mnemonic::Punpckhqdq | Mnemonic::Vpunpckhqdq | Mnemonic::Unpckhpd | Mnemonic::Vunpckhpd, _)
            if lanes == 2 =>
        {
            vec![to(0, part(first, 1)), to(1, part(second, 1))]
        }
        (Mnemonic::Movhlps | Mnemonic::Vmovhlps, _) => {
            vec![to(0, part(second, 1)), to(1, part(first, 1))]
        }
        (Mnemonic::Pslldq, Some(8)) => vec![to(1, part(0, 0))],
        (Mnemonic::Vpslldq, Some(8)) if lanes == 2 => vec![to(1, part(1, 0))],
        (Mnemonic::Psrldq, Some(8)) => vec![to(0, part(0, 1))],
        (Mnemonic::Vpsrldq, Some(8)) if lanes == 2 => vec![to(0, part(1, 1))],
        (Mnemonic::Pshufd | Mnemonic::Vpshufd, Some(control)) if lanes == 2 => {
            let half = |control: u8| match control & 0xf {
                0x4 => Some(part(1, 0)),
                0xe => Some(part(1, 1)),
                _ => None,
            };
            match (half(control), half(control >> 4)) {
                (Some(low), Some(high)) => vec![to(0, low), to(1, high)],
                _ => return any_lane(instruction, frame),
            }
        }
        (Mnemonic::Shufpd | Mnemonic::Vshufpd, Some(control)) if lanes == 2 => {
            vec![
                to(0, part(first, control & 1)),
                to(1, part(second, (control >> 1) & 1)),
            ]
        }
        (Mnemonic::Pinsrq | Mnemonic::Vpinsrq, Some(control)) => {
            let inserted = control & 1;
            vec![
                to(inserted, part(second, 0)),
                to(1 - inserted, part(first, 1 - inserted)),
            ]
        }
        (Mnemonic::Movddup | Mnemonic::Vmovddup, _) if lanes == 2 => {
            vec![to(0, part(1, 0)), to(1, part(1, 0))]
        }
        (Mnemonic::Vpbroadcastq | Mnemonic::Vbroadcastsd, _) => {
            (0..lanes).map(|n| to(n, part(1, 0))).collect()
        }
        (Mnemonic::Vinserti128 | Mnemonic::Vinsertf128, Some(control)) => {
            let base = 2 * (control & 1);
            let other = 2 - base;
            vec![
                to(base, part(2, 0)),
                to(base + 1, part(2, 1)),
                to(other, part(1, other)),
                to(other + 1, part(1, other + 1)),
            ]
        }
        _ if is_whole_move(instruction) => (0..lanes).map(|n| to(n, part(1, n))).collect(),
        _ if is_shuffle(instruction) => return any_lane(instruction, frame),
        _ => Vec::new(),
    };
    list.into_iter().flatten().collect()
}

/// The cautious answer: each lane may hold what any lane of an operand held.
fn any_lane(instruction: &Instruction, frame: &Frame) -> Vec<(Place, Vec<Place>)> {
    let target = instruction.op0_register();
    let lanes = u8::try_from(target.size() / 8).unwrap_or(2);
    let mut sources: Vec<Place> = vec![Place::Slot(Register::None, 0)];
    for operand in 0..instruction.op_count() {
        match instruction.op_kind(operand) {
            OpKind::Register if instruction.op_register(operand).is_vector_register() => {
                sources.extend((0..lanes).map(|n| lane(instruction.op_register(operand), n)));
            }
            OpKind::Register => {
                sources.push(Place::Register(instruction.op_register(operand).full_register()));
            }
            OpKind::Memory => {
                sources.extend((0..lanes).filter_map(|n| slot(frame, instruction, 8 * i64::from(n))));
            }
            _ => {}
        }
    }
    (0..lanes).map(|n| (lane(target, n), sources.clone())).collect()
}

/// The slot of the frame that is `ahead` bytes behind what the memory operand addresses.
pub(super) fn slot(frame: &Frame, instruction: &Instruction, ahead: i64) -> Option<Place> {
    let (base, at) = frame.place(instruction)?;
    Some(Place::Slot(base, at.wrapping_add(ahead)))
}

/// Eight bytes of a vector register.
pub(super) fn lane(register: Register, n: u8) -> Place {
    Place::Lane(register.full_register(), n)
}

/// What a store to memory writes: (distance from the operand's address, source).
pub(super) fn stored(instruction: &Instruction) -> Vec<(u8, Place)> {
    let source = instruction.op1_register();
    if source.is_gpr64() {
        let moves = matches!(
            instruction.mnemonic(),
            Mnemonic::Mov | Mnemonic::Xchg | Mnemonic::Movnti
        );
        return if moves {
            vec![(0, Place::Register(source))]
        } else {
            Vec::new()
        };
    }
    if !source.is_vector_register() {
        return Vec::new();
    }
    match instruction.mnemonic() {
        Mnemonic::Movq
        | Mnemonic::Vmovq
        | Mnemonic::Movsd
        | Mnemonic::Vmovsd
        | Mnemonic::Movlps
        | Mnemonic::Movlpd
        | Mnemonic::Vmovlps
        | Mnemonic::Vmovlpd => vec![(0, lane(source, 0))],
        Mnemonic::Movhps | Mnemonic::Movhpd | Mnemonic::Vmovhps | Mnemonic::Vmovhpd => {
            vec![(0, lane(source, 1))]
        }
        Mnemonic::Pextrq | Mnemonic::Vpextrq => vec![(0, lane(source, instruction.immediate8() & 1))],
        Mnemonic::Vextracti128 | Mnemonic::Vextractf128 => {
            let base = 2 * (instruction.immediate8() & 1);
            vec![(0, lane(source, base)), (8, lane(source, base + 1))]
        }
        _ if is_whole_move(instruction) => {
            let lanes = u8::try_from(source.size() / 8).unwrap_or(2);
            (0..lanes).map(|n| (8 * n, lane(source, n))).collect()
        }
        _ => Vec::new(),
    }
}

/// An instruction that rearranges or unites the bytes of vector registers in a way not followed in detail.
fn is_shuffle(instruction: &Instruction) -> bool {
    use Mnemonic as M;
    matches!(
        instruction.mnemonic(),
        M::Palignr
            | M::Vpalignr
            | M::Pshufb
            | M::Vpshufb
            | M::Pshufd
            | M::Vpshufd
            | M::Shufps
            | M::Vshufps
            | M::Shufpd
            | M::Vshufpd
            | M::Pblendw
            | M::Vpblendw
            | M::Vpblendd
            | M::Blendpd
            | M::Vblendpd
            | M::Blendps
            | M::Vblendps
            | M::Vpermq
            | M::Vpermpd
            | M::Vperm2i128
            | M::Vperm2f128
            | M::Vinserti128
            | M::Vinsertf128
            | M::Vextracti128
            | M::Vextractf128
            | M::Vbroadcasti128
            | M::Vbroadcastf128
            | M::Punpcklqdq
            | M::Vpunpcklqdq
            | M::Punpckhqdq
            | M::Vpunpckhqdq
            | M::Unpcklpd
            | M::Vunpcklpd
            | M::Unpckhpd
            | M::Vunpckhpd
            | M::Pslldq
            | M::Vpslldq
            | M::Psrldq
            | M::Vpsrldq
            | M::Por
            | M::Vpor
            | M::Orps
            | M::Vorps
            | M::Orpd
            | M::Vorpd
            | M::Movss
            | M::Vmovss
            | M::Insertps
            | M::Vinsertps
    )
}

/// A move of a whole vector register.
fn is_whole_move(instruction: &Instruction) -> bool {
    matches!(
        instruction.mnemonic(),
        Mnemonic::Movaps
            | Mnemonic::Movups
            | Mnemonic::Movapd
            | Mnemonic::Movupd
            | Mnemonic::Movdqa
            | Mnemonic::Movdqu
            | Mnemonic::Movntps
            | Mnemonic::Movntdq
            | Mnemonic::Lddqu
            | Mnemonic::Vmovaps
            | Mnemonic::Vmovups
            | Mnemonic::Vmovapd
            | Mnemonic::Vmovupd
            | Mnemonic::Vmovdqa
            | Mnemonic::Vmovdqu
            | Mnemonic::Vmovdqa64
            | Mnemonic::Vmovdqu64
            | Mnemonic::Vmovdqa32
            | Mnemonic::Vmovdqu32
            | Mnemonic::Vmovntps
            | Mnemonic::Vmovntdq
            | Mnemonic::Vlddqu
    )
}

pub(super) fn is_conditional_move(instruction: &Instruction) -> bool {
    matches!(
        instruction.code(),
        Code::Cmovo_r64_rm64
            | Code::Cmovno_r64_rm64
            | Code::Cmovb_r64_rm64
            | Code::Cmovae_r64_rm64
            | Code::Cmove_r64_rm64
            | Code::Cmovne_r64_rm64
            | Code::Cmovbe_r64_rm64
            | Code::Cmova_r64_rm64
            | Code::Cmovs_r64_rm64
            | Code::Cmovns_r64_rm64
            | Code::Cmovp_r64_rm64
            | Code::Cmovnp_r64_rm64
            | Code::Cmovl_r64_rm64
            | Code::Cmovge_r64_rm64
            | Code::Cmovle_r64_rm64
            | Code::Cmovg_r64_rm64
    )
}
