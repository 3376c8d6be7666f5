//! Which living process takes a pair first. It uses rendezvous hashing, so that shares are even and few pairs move when
//! a process joins or leaves (Thaler and Ravishankar, 1998).

use uuid::Uuid;

/// True when `me` is the process that takes this pair first, or when no living process is known.
pub(crate) fn prefers(members: impl Iterator<Item = Uuid>, me: Uuid, projection: &str, instance: &str) -> bool {
    let pair = mix(projection.bytes().chain([0]).chain(instance.bytes()).fold(0xcbf2_9ce4_8422_2325, step));
    let weight = |member: &Uuid| (mix(member.as_bytes().iter().copied().fold(pair, step)), *member);
    members.max_by_key(weight).is_none_or(|first| first == me)
}

/// FNV-1a, the same in every process and version.
fn step(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
}

/// Spreads the bits (the finalizer of splitmix64).
fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(members: &[Uuid], me: Uuid) -> Vec<usize> {
        let pair = |n: usize| (format!("p{}", n % 5), format!("tenant-{n}"));
        (0..1000).filter(|n| prefers(members.iter().copied(), me, &pair(*n).0, &pair(*n).1)).collect()
    }

    // Contract: F6
    #[test]
    fn shares_are_even_and_few_pairs_move() {
        let members: Vec<Uuid> = (1..=4).map(|n| Uuid::from_u128(n * 7919)).collect();
        let shares: Vec<Vec<usize>> = members.iter().map(|me| share(&members, *me)).collect();
        assert_eq!(shares.iter().map(Vec::len).sum::<usize>(), 1000, "each pair has one first taker");
        assert!(shares.iter().all(|share| (200..=300).contains(&share.len())), "{:?}", shares.iter().map(Vec::len));
        let left = members.get(..3).unwrap();
        for (me, before) in left.iter().zip(&shares) {
            let after = share(left, *me);
            assert!(before.iter().all(|pair| after.contains(pair)), "who stays keeps what it had");
        }
        assert!(prefers(std::iter::empty(), Uuid::nil(), "p", "i"));
    }
}
