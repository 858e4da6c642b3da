//! Owns: the point of a grid that lies nearest to some numbers, under weights and a step, in eight lanes.
//! Refuses to know: block layouts; how steps are found.
//!
//! What is found is what `src/dtypes/grid-search.ts` finds, which says why it is looked for so. A few points that have
//! their first half in common are looked at together: which of the few it is shows once all have been looked at.

use crate::simd::doubles::{Doubles, LANES};

/// Levels of a coordinate at most.
const LEVELS: usize = 8;
/// Halves of points that there could be, rounded up to a power of two.
const HALVES: usize = 128;

/// Points that are looked at together.
const FEW: usize = 6;

/// Points that have their first half in common.
struct Few {
    first: usize,
    /// The second half of each point, and which point it is; the last of them again in places that are left.
    seconds: [u8; FEW],
    entries: [u16; FEW],
}

/// A table of points, ready to be searched.
pub struct Grid {
    pub dimensions: usize,
    /// Of a coordinate, in ascending order.
    levels: Vec<f64>,
    /// The coordinates of all points, one point after the other.
    points: Vec<f64>,
    fews: Vec<Few>,
}

impl Grid {
    pub fn new<const N: usize>(table: &[[i8; N]]) -> Self {
        let mut levels = table.as_flattened().to_vec();
        levels.sort_unstable();
        levels.dedup();
        assert!(levels.len() <= LEVELS && levels.len().pow(N as u32 / 2) <= HALVES);
        let numbered = |half: &[i8]| {
            let digit = |coordinate: &i8| levels.iter().position(|level| level == coordinate).unwrap_or(0);
            half.iter().fold(0, |code, coordinate| code * levels.len() + digit(coordinate))
        };
        let mut families: Vec<(usize, Vec<(u8, u16)>)> = Vec::new();
        for (entry, point) in table.iter().enumerate() {
            let (first, second) = (numbered(&point[..N / 2]), numbered(&point[N / 2..]));
            let member = (second as u8, entry as u16);
            match families.iter_mut().find(|family| family.0 == first) {
                Some(family) => family.1.push(member),
                None => families.push((first, vec![member])),
            }
        }
        let fews = families.iter().flat_map(|(first, members)| {
            members.chunks(FEW).map(|some| {
                let member = |i: usize| some[i.min(some.len() - 1)];
                let (seconds, entries) = (|i| member(i).0, |i| member(i).1);
                Few { first: *first, seconds: std::array::from_fn(seconds), entries: std::array::from_fn(entries) }
            })
        });
        let fews = fews.collect();
        Self {
            dimensions: N,
            levels: levels.iter().map(|&level| f64::from(level)).collect(),
            points: table.as_flattened().iter().map(|&coordinate| f64::from(coordinate)).collect(),
            fews,
        }
    }

    /// The largest coordinate.
    pub fn top(&self) -> f64 {
        self.levels[self.levels.len() - 1]
    }

    /// Coordinate j of a point of each lane.
    #[inline(always)]
    pub fn coordinate<D: Doubles>(&self, entries: &[u16; LANES], j: usize) -> D {
        D::load(&entries.map(|entry| self.points[usize::from(entry) * self.dimensions + j]))
    }
}

/// A number of each lane.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([f64; LANES]);

type Costs = [Line; HALVES];

/// The point that was found in each lane, and what it costs.
pub struct Found<D> {
    pub entries: [u16; LANES],
    pub error: D,
}

/// Room for the costs of all halves.
pub struct GridSearch {
    firsts: Costs,
    seconds: Costs,
}

impl GridSearch {
    #[inline(always)]
    pub fn new() -> Self {
        Self { firsts: [Line([0.0; LANES]); HALVES], seconds: [Line([0.0; LANES]); HALVES] }
    }

    /// The points under which numbers, as many as a point has coordinates, lose least as step * (coordinate + shift).
    #[inline(always)]
    pub fn nearest<D: Doubles>(&mut self, grid: &Grid, x: &[D], w: &[D], step: D, shift: D) -> Found<D> {
        self.fill(grid, x, w, step, shift);
        let (zero, one) = (D::splat(0.0), D::splat(1.0));
        let mut best = D::splat(f64::INFINITY);
        let (mut won, mut number) = (zero, zero);
        for few in &grid.fews {
            let least = self.least_of(few);
            won = D::pick(best.above(least), number, won);
            best = least.smaller(best);
            number = number + one;
        }
        let (won, least) = (won.store(), best.store());
        let entries = std::array::from_fn(|lane| {
            let few = &grid.fews[won[lane] as usize];
            let first = self.firsts[few.first % HALVES].0[lane];
            let cost = |half: u8| first + self.seconds[usize::from(half) % HALVES].0[lane];
            few.seconds.iter().position(|&half| cost(half) == least[lane]).map_or(0, |i| few.entries[i])
        });
        Found { entries, error: best }
    }

    /// What those points cost.
    #[inline(always)]
    pub fn least<D: Doubles>(&mut self, grid: &Grid, x: &[D], w: &[D], step: D, shift: D) -> D {
        self.fill(grid, x, w, step, shift);
        grid.fews.iter().fold(D::splat(f64::INFINITY), |best, few| self.least_of::<D>(few).smaller(best))
    }

    #[inline(always)]
    fn least_of<D: Doubles>(&self, few: &Few) -> D {
        let [a, b, c, d, e, f] = few.seconds.map(|half| D::load(&self.seconds[usize::from(half) % HALVES].0));
        let least = a.smaller(b).smaller(c.smaller(d)).smaller(e.smaller(f));
        D::load(&self.firsts[few.first % HALVES].0) + least
    }

    #[inline(always)]
    fn fill<D: Doubles>(&mut self, grid: &Grid, x: &[D], w: &[D], step: D, shift: D) {
        let mut levels = [step; LEVELS];
        for (to, &level) in levels.iter_mut().zip(&grid.levels) {
            *to = step * (D::splat(level) + shift);
        }
        let levels = &levels[..grid.levels.len()];
        let half = grid.dimensions / 2;
        fill(&mut self.firsts, &x[..half], &w[..half], levels);
        fill(&mut self.seconds, &x[half..], &w[half..], levels);
    }
}

/// What each half would cost: its digits in order are its index.
#[inline(always)]
fn fill<D: Doubles>(costs: &mut Costs, x: &[D], w: &[D], levels: &[D]) {
    costs[0] = Line([0.0; LANES]);
    let mut known = 1;
    for (&x, &w) in x.iter().zip(w) {
        let mut lost = [x; LEVELS];
        for (lost, &level) in lost.iter_mut().zip(levels) {
            let e = x - level;
            *lost = w * e * e;
        }
        // From the end, since the longer ones take the place of the shorter.
        for code in (0..known).rev() {
            let cost = D::load(&costs[code % HALVES].0);
            for l in 0..levels.len() {
                costs[(code * levels.len() + l) % HALVES] = Line((cost + lost[l]).store());
            }
        }
        known *= levels.len();
    }
}
