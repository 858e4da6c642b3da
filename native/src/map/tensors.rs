//! Owns: the table of tensors and matrices over their memory.
//! Refuses to know: operations.
//!
//! An operation claims all it reads and writes at once; the claim refuses views that overlap where one is written, so
//! the matrices that it gives out never alias.

use super::Buffer;
use super::buffer::Plain;
use crate::error::{Fault, Outcome, misfit};
use std::marker::PhantomData;
use std::ops::Range;

/// Columns [start, start + cols) of the first `rows` rows of a tensor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct View {
    pub id: usize,
    pub start: usize,
    pub cols: usize,
    pub rows: usize,
}

struct Tensor {
    cells: Buffer<u32>,
    is_int: bool,
    rows: usize,
    cols: usize,
}

/// All tensors of a context by id.
#[derive(Default)]
pub struct Tensors {
    all: Vec<Option<Tensor>>,
}

/// Numbers that tensors hold.
pub trait Number: Plain {
    const IS_INT: bool;
}
impl Number for f32 {
    const IS_INT: bool = false;
}
impl Number for i32 {
    const IS_INT: bool = true;
}

/// A matrix to read: [rows, cols], row i begins i * stride numbers after the first.
#[derive(Clone, Copy)]
pub struct Mat<'a, T: Number = f32> {
    ptr: *const T,
    rows: usize,
    cols: usize,
    stride: usize,
    of: PhantomData<&'a [T]>,
}

/// A matrix to write; nothing else refers to its numbers.
pub struct MatMut<'a, T: Number = f32> {
    ptr: *mut T,
    rows: usize,
    cols: usize,
    stride: usize,
    of: PhantomData<&'a mut [T]>,
}

// SAFETY: a Mat is a shared borrow of plain numbers.
unsafe impl<T: Number> Send for Mat<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Number> Sync for Mat<'_, T> {}
// SAFETY: a MatMut is an exclusive borrow of plain numbers.
unsafe impl<T: Number> Send for MatMut<'_, T> {}
// SAFETY: `&MatMut` gives no access to the numbers but by the unsafe `part`.
unsafe impl<T: Number> Sync for MatMut<'_, T> {}

impl<'a, T: Number> Mat<'a, T> {
    /// A matrix over one slice of numbers, `cols` to a row.
    pub fn over(numbers: &'a [T], cols: usize) -> Self {
        Self { ptr: numbers.as_ptr(), rows: numbers.len() / cols, cols, stride: cols, of: PhantomData }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    pub fn row(&self, i: usize) -> &'a [T] {
        assert!(i < self.rows);
        // SAFETY: rows lie inside the tensor (checked when the view was made) and are borrowed for 'a.
        unsafe { std::slice::from_raw_parts(self.ptr.add(i * self.stride), self.cols) }
    }

    /// The numbers of some rows, where rows lie one after the other.
    pub fn run(&self, rows: Range<usize>) -> Option<&'a [T]> {
        assert!(rows.start <= rows.end && rows.end <= self.rows);
        // SAFETY: as in `row`; nothing lies between the rows.
        let numbers = |at: *const T| unsafe { std::slice::from_raw_parts(at, rows.len() * self.cols) };
        (self.stride == self.cols).then(|| numbers(self.ptr.wrapping_add(rows.start * self.stride)))
    }

    /// The first number of row i.
    pub fn first(&self, i: usize) -> T {
        self.row(i)[0]
    }
}

impl<'a, T: Number> MatMut<'a, T> {
    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    pub fn row(&mut self, i: usize) -> &mut [T] {
        assert!(i < self.rows);
        // SAFETY: as in `Mat::row`, and the matrix is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.add(i * self.stride), self.cols) }
    }

    /// Some of the columns of all rows.
    pub fn columns(&mut self, cols: Range<usize>) -> MatMut<'_, T> {
        // SAFETY: the whole is borrowed for as long as the part is there.
        unsafe { self.part(0..self.rows, cols) }
    }

    /// All numbers, where rows lie one after the other.
    pub fn in_one_run(&mut self) -> Option<&mut [T]> {
        let whole = self.rows == 1 || self.stride == self.cols;
        // SAFETY: as in `row`; nothing lies between the rows.
        whole.then(|| unsafe { std::slice::from_raw_parts_mut(self.ptr, self.rows * self.cols) })
    }

    /// A matrix over one slice of numbers, `cols` to a row.
    pub fn over(numbers: &'a mut [T], cols: usize) -> Self {
        Self { ptr: numbers.as_mut_ptr(), rows: numbers.len() / cols, cols, stride: cols, of: PhantomData }
    }

    /// The rows before `row`, and those from it on.
    pub fn split_rows(self, row: usize) -> (Self, Self) {
        assert!(row <= self.rows);
        // SAFETY: the two have no row in common, and the whole is given up for them.
        unsafe { (self.part(0..row, 0..self.cols), self.part(row..self.rows, 0..self.cols)) }
    }

    /// The part at these rows and columns.
    ///
    /// # Safety
    /// Parts that exist at the same time must not overlap.
    pub unsafe fn part(&self, rows: Range<usize>, cols: Range<usize>) -> MatMut<'a, T> {
        assert!(rows.end <= self.rows && cols.end <= self.cols && rows.start <= rows.end && cols.start <= cols.end);
        MatMut {
            // SAFETY: the part begins inside the matrix.
            ptr: unsafe { self.ptr.add(rows.start * self.stride + cols.start) },
            rows: rows.len(),
            cols: cols.len(),
            stride: self.stride,
            of: PhantomData,
        }
    }
}

#[derive(Clone, Copy)]
struct Raw {
    ptr: *mut u32,
    view: View,
    stride: usize,
    is_int: bool,
}

/// What one operation may touch; matrices are taken in the order in which views were named.
pub struct Claim<'a> {
    writes: std::vec::IntoIter<Raw>,
    reads: std::vec::IntoIter<Raw>,
    of: PhantomData<&'a mut Tensors>,
}

impl<'a> Claim<'a> {
    /// The next written matrix.
    pub fn write<T: Number>(&mut self) -> Outcome<MatMut<'a, T>> {
        let Raw { ptr, view, stride, is_int } = self.writes.next().ok_or_else(|| misfit("a claim", "a view", 0))?;
        of_type::<T>(view, is_int)?;
        Ok(MatMut { ptr: ptr.cast(), rows: view.rows, cols: view.cols, stride, of: PhantomData })
    }

    /// The next read matrix.
    pub fn read<T: Number>(&mut self) -> Outcome<Mat<'a, T>> {
        let Raw { ptr, view, stride, is_int } = self.reads.next().ok_or_else(|| misfit("a claim", "a view", 0))?;
        of_type::<T>(view, is_int)?;
        Ok(Mat { ptr: ptr.cast(), rows: view.rows, cols: view.cols, stride, of: PhantomData })
    }
}

fn of_type<T: Number>(view: View, is_int: bool) -> Outcome<()> {
    let name = |int: bool| if int { "I32" } else { "F32" };
    if T::IS_INT == is_int {
        return Ok(());
    }
    Err(misfit(format!("tensor {}", view.id), format!("numbers of type {}", name(T::IS_INT)), name(is_int)))
}

impl Tensors {
    /// A zeroed tensor; its id.
    pub fn add(&mut self, is_int: bool, rows: usize, cols: usize) -> Outcome<usize> {
        let what = format!("a tensor of {rows} x {cols} numbers");
        let count = rows.saturating_mul(cols);
        super::refuse_beyond_memory(&what, (count as u64).saturating_mul(4))?;
        let cells = Buffer::zeroed(count, &what)?;
        self.all.push(Some(Tensor { cells, is_int, rows, cols }));
        Ok(self.all.len() - 1)
    }

    pub fn free(&mut self, id: usize) {
        if let Some(slot) = self.all.get_mut(id) {
            *slot = None;
        }
    }

    /// Copies numbers, as bits, over the first of a view.
    pub fn write(&mut self, view: View, bits: &[u32]) -> Outcome<()> {
        let (tensor, rows) = self.find(view)?;
        if bits.len() > view.cols * rows {
            return Err(misfit("write", format!("at most {} numbers", view.cols * rows), bits.len()));
        }
        let cols = tensor.cols;
        let Some(tensor) = self.all[view.id].as_mut() else { return Ok(()) };
        for (i, row) in bits.chunks(view.cols).enumerate() {
            let at = i * cols + view.start;
            tensor.cells[at..at + row.len()].copy_from_slice(row);
        }
        Ok(())
    }

    /// The bits of the view's rows, one after the other.
    pub fn read(&self, view: View) -> Outcome<Vec<u32>> {
        let (tensor, _) = self.find(view)?;
        let mut bits = Vec::new();
        bits.try_reserve_exact(view.rows * view.cols).map_err(|_| {
            Fault::new("out-of-memory", "read").expected(format!("{} numbers", view.rows * view.cols))
        })?;
        for i in 0..view.rows {
            let at = i * tensor.cols + view.start;
            bits.extend_from_slice(&tensor.cells[at..at + view.cols]);
        }
        Ok(bits)
    }

    /// Takes everything that one operation touches.
    pub fn claim(&mut self, writes: &[View], reads: &[View]) -> Outcome<Claim<'_>> {
        for (n, a) in writes.iter().enumerate() {
            if let Some(b) = writes[n + 1..].iter().chain(reads).find(|b| overlap(a, b)) {
                return Err(misfit(
                    format!("tensor {}", a.id),
                    "an output apart from other arguments",
                    format!("columns {}+{} and {}+{}", a.start, a.cols, b.start, b.cols),
                ));
            }
        }
        Ok(Claim {
            writes: self.raws(writes)?.into_iter(),
            reads: self.raws(reads)?.into_iter(),
            of: PhantomData,
        })
    }

    fn raws(&mut self, views: &[View]) -> Outcome<Vec<Raw>> {
        views
            .iter()
            .map(|&view| {
                self.find(view)?;
                let Some(tensor) = self.all[view.id].as_mut() else { return Err(gone(view.id)) };
                // SAFETY: `find` has checked that the view begins inside the tensor's cells.
                let ptr = unsafe { tensor.cells.as_mut_ptr().add(view.start) };
                Ok(Raw { ptr, view, stride: tensor.cols, is_int: tensor.is_int })
            })
            .collect()
    }

    /// The tensor of a view that fits it, and how many rows it has.
    fn find(&self, view: View) -> Outcome<(&Tensor, usize)> {
        let tensor = self.all.get(view.id).and_then(Option::as_ref).ok_or_else(|| gone(view.id))?;
        let end = view.start.saturating_add(view.cols);
        if view.rows > tensor.rows || end > tensor.cols || view.cols == 0 {
            return Err(misfit(
                format!("tensor {}", view.id),
                format!("a view inside {} x {}", tensor.rows, tensor.cols),
                format!("{} rows, columns {} to {end}", view.rows, view.start),
            ));
        }
        Ok((tensor, tensor.rows))
    }

    /// Rows of a tensor.
    pub fn rows(&self, id: usize) -> Outcome<usize> {
        self.all.get(id).and_then(Option::as_ref).map(|tensor| tensor.rows).ok_or_else(|| gone(id))
    }
}

fn gone(id: usize) -> Fault {
    Fault::new("freed", format!("tensor {id}")).expected("a tensor in use").got("a freed or foreign handle")
}

fn overlap(a: &View, b: &View) -> bool {
    a.id == b.id && a.start < b.start + b.cols && b.start < a.start + a.cols && a.rows > 0 && b.rows > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_outputs_are_refused() {
        let mut tensors = Tensors::default();
        let id = tensors.add(false, 2, 8).unwrap();
        let left = View { id, start: 0, cols: 4, rows: 2 };
        let right = View { id, start: 4, cols: 4, rows: 2 };
        assert!(tensors.claim(&[left], &[right]).is_ok());
        assert!(tensors.claim(&[left], &[View { start: 3, ..right }]).is_err());
        assert!(tensors.claim(&[left, left], &[]).is_err());
        assert!(tensors.claim(&[], &[View { rows: 3, ..right }]).is_err());
    }

    #[test]
    fn rows_of_a_view_have_the_stride_of_their_tensor() {
        let mut tensors = Tensors::default();
        let id = tensors.add(false, 2, 3).unwrap();
        let all = View { id, start: 0, cols: 3, rows: 2 };
        let bits: Vec<u32> = (0..6).map(|n| (n as f32).to_bits()).collect();
        tensors.write(all, &bits).unwrap();
        let mut claim = tensors.claim(&[], &[View { start: 1, cols: 2, ..all }]).unwrap();
        assert_eq!(claim.read::<f32>().unwrap().row(1), [4.0, 5.0]);
    }
}
