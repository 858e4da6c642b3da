//! Owns: the raw Node-API boundary: functions that JavaScript calls, and the asynchronous run of a program.
//! Refuses to know: what operations mean. A panic below becomes the error `native-panic`.

use crate::context::{Context, cache_of};
use crate::encode::{encodes, transcode};
use crate::error::{Fault, Outcome, guarded, misfit};
use crate::formats::Format;
use crate::kernels::probe;
use crate::map::View;
use crate::{pool, program, simd};
use std::ffi::{CStr, c_char, c_void};
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::Ordering;

type Env = *mut c_void;
type Value = *mut c_void;
type Status = i32;
type Callback = unsafe extern "C" fn(Env, Value) -> Value;

const INT8: i32 = 0;
const UINT8: i32 = 1;
const INT32: i32 = 5;
const FLOAT32: i32 = 7;
const AUTO_LENGTH: usize = usize::MAX;

#[cfg_attr(windows, link(name = "node.exe", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "C" {
    fn napi_create_function(
        env: Env,
        name: *const c_char,
        len: usize,
        call: Callback,
        data: *mut c_void,
        result: *mut Value,
    ) -> Status;
    fn napi_set_named_property(env: Env, object: Value, name: *const c_char, value: Value) -> Status;
    fn napi_get_cb_info(
        env: Env,
        info: Value,
        count: *mut usize,
        values: *mut Value,
        this: *mut Value,
        data: *mut *mut c_void,
    ) -> Status;
    fn napi_get_value_double(env: Env, value: Value, result: *mut f64) -> Status;
    fn napi_create_double(env: Env, value: f64, result: *mut Value) -> Status;
    fn napi_get_value_string_utf8(env: Env, value: Value, to: *mut c_char, size: usize, got: *mut usize) -> Status;
    fn napi_create_string_utf8(env: Env, text: *const c_char, len: usize, result: *mut Value) -> Status;
    fn napi_get_typedarray_info(
        env: Env,
        value: Value,
        kind: *mut i32,
        len: *mut usize,
        data: *mut *mut c_void,
        buffer: *mut Value,
        offset: *mut usize,
    ) -> Status;
    fn napi_create_arraybuffer(env: Env, len: usize, data: *mut *mut c_void, result: *mut Value) -> Status;
    fn napi_create_error(env: Env, code: Value, message: Value, result: *mut Value) -> Status;
    fn napi_throw(env: Env, error: Value) -> Status;
    fn napi_create_external(
        env: Env,
        data: *mut c_void,
        finalize: unsafe extern "C" fn(Env, *mut c_void, *mut c_void),
        hint: *mut c_void,
        result: *mut Value,
    ) -> Status;
    fn napi_get_value_external(env: Env, value: Value, result: *mut *mut c_void) -> Status;
    fn napi_create_promise(env: Env, deferred: *mut *mut c_void, promise: *mut Value) -> Status;
    fn napi_resolve_deferred(env: Env, deferred: *mut c_void, value: Value) -> Status;
    fn napi_reject_deferred(env: Env, deferred: *mut c_void, value: Value) -> Status;
    fn napi_create_async_work(
        env: Env,
        resource: Value,
        name: Value,
        execute: unsafe extern "C" fn(Env, *mut c_void),
        complete: unsafe extern "C" fn(Env, Status, *mut c_void),
        data: *mut c_void,
        result: *mut *mut c_void,
    ) -> Status;
    fn napi_queue_async_work(env: Env, work: *mut c_void) -> Status;
    fn napi_delete_async_work(env: Env, work: *mut c_void) -> Status;
}

const MOST_ARGUMENTS: usize = 10;

/// The arguments of one call from JavaScript.
struct Call {
    env: Env,
    values: [Value; MOST_ARGUMENTS],
    count: usize,
}

fn wrong(argument: usize, expected: &str) -> Fault {
    Fault::new("native-panic", format!("argument {argument} of a native function"))
        .expected(expected)
        .next("report this as a defect")
}

impl Call {
    fn value(&self, n: usize) -> Value {
        if n < self.count { self.values[n] } else { null_mut() }
    }

    fn number(&self, n: usize) -> Outcome<usize> {
        let mut number = 0.0;
        // SAFETY: Node checks the value's type and reports a status.
        let status = unsafe { napi_get_value_double(self.env, self.value(n), &mut number) };
        if status == 0 && (0.0..=9_007_199_254_740_992.0).contains(&number) && number.fract() == 0.0 {
            return Ok(number as usize);
        }
        Err(wrong(n, "a whole number"))
    }

    fn text(&self, n: usize) -> Outcome<String> {
        let mut len = 0;
        // SAFETY: with no buffer Node only reports the length.
        if unsafe { napi_get_value_string_utf8(self.env, self.value(n), null_mut(), 0, &mut len) } != 0 {
            return Err(wrong(n, "a string"));
        }
        let mut bytes = vec![0u8; len + 1];
        // SAFETY: the buffer has room for the string and its terminating zero.
        unsafe {
            napi_get_value_string_utf8(self.env, self.value(n), bytes.as_mut_ptr().cast(), len + 1, &mut len)
        };
        bytes.truncate(len);
        String::from_utf8(bytes).map_err(|_| wrong(n, "UTF-8"))
    }

    /// A typed array of 8-bit or 32-bit numbers as bytes.
    fn bytes(&self, n: usize, kinds: &[i32]) -> Outcome<&[u8]> {
        let (mut kind, mut len, mut data, mut buffer, mut offset) = (0, 0, null_mut(), null_mut(), 0);
        // SAFETY: Node checks the value's type and reports a status.
        let status = unsafe {
            napi_get_typedarray_info(
                self.env,
                self.value(n),
                &mut kind,
                &mut len,
                &mut data,
                &mut buffer,
                &mut offset,
            )
        };
        if status != 0 || !kinds.contains(&kind) {
            return Err(wrong(n, "a typed array of another kind"));
        }
        let size = if kind == UINT8 || kind == INT8 { 1 } else { 4 };
        if len == 0 {
            return Ok(&[]);
        }
        // SAFETY: the array lives as long as this call, and nothing runs in JavaScript meanwhile.
        Ok(unsafe { std::slice::from_raw_parts(data.cast(), len * size) })
    }

    fn words(&self, n: usize) -> Outcome<Vec<i32>> {
        let bytes = self.bytes(n, &[INT32, FLOAT32])?;
        let mut words = Vec::new();
        words.try_reserve_exact(bytes.len() / 4).map_err(|_| Fault::new("out-of-memory", "a recorded program"))?;
        words.extend(bytes.as_chunks::<4>().0.iter().map(|&word| i32::from_le_bytes(word)));
        Ok(words)
    }

    fn context(&self) -> Outcome<Arc<Context>> {
        let mut data = null_mut();
        // SAFETY: Node checks that the value is an external; ours are made by `create` alone and hold this box.
        if unsafe { napi_get_value_external(self.env, self.value(0), &mut data) } != 0 || data.is_null() {
            return Err(wrong(0, "a context"));
        }
        // SAFETY: the box lives until the external is collected.
        Ok(Arc::clone(unsafe { &*data.cast::<Arc<Context>>() }))
    }

    fn view(&self, n: usize) -> Outcome<View> {
        let number = |k: usize| self.number(n + k);
        Ok(View { id: number(0)?, start: number(1)?, cols: number(2)?, rows: number(3)? })
    }
}

fn double(env: Env, number: usize) -> Value {
    let mut value = null_mut();
    // SAFETY: `env` is the environment of the running call.
    unsafe { napi_create_double(env, number as f64, &mut value) };
    value
}

fn string(env: Env, text: &str) -> Value {
    let mut value = null_mut();
    // SAFETY: the text is valid for its length.
    unsafe { napi_create_string_utf8(env, text.as_ptr().cast(), text.len(), &mut value) };
    value
}

fn error(env: Env, fault: &Fault) -> Value {
    let mut value = null_mut();
    // SAFETY: both arguments are strings of this environment.
    unsafe { napi_create_error(env, string(env, fault.code), string(env, &fault.packed()), &mut value) };
    value
}

type Body = fn(&Call) -> Outcome<Value>;

/// Every function of the addon: its JavaScript name and its body, found by index through `data`.
const FUNCTIONS: &[(&CStr, Body)] = &[
    (c"isas", |call| Ok(string(call.env, &simd::available().iter().map(|t| t.isa).collect::<Vec<_>>().join(",")))),
    (c"create", create),
    (c"isa", |call| Ok(string(call.env, call.context()?.idle()?.kernels.isa))),
    (c"threads", |call| Ok(double(call.env, call.context()?.idle()?.pool.threads()))),
    (c"tensor", |call| {
        let id = call.context()?.idle()?.tensors.add(call.number(1)? != 0, call.number(2)?, call.number(3)?)?;
        Ok(double(call.env, id))
    }),
    (c"cache", |call| {
        let context = call.context()?;
        let id = context.idle()?.cache(&call.text(1)?, call.number(2)?, call.number(3)?, call.number(4)?)?;
        Ok(double(call.env, id))
    }),
    (c"readPage", |call| {
        let context = call.context()?;
        let state = context.idle()?;
        let bytes = cache_of(&state.caches, call.number(1)?)?.page(call.number(2)?)?;
        let (mut data, mut value) = (null_mut(), null_mut());
        // SAFETY: Node reports a status; only where that is good has `data` room for so many bytes.
        let status = unsafe { napi_create_arraybuffer(call.env, bytes.len(), &mut data, &mut value) };
        if status != 0 || (data.is_null() && !bytes.is_empty()) {
            return Err(Fault::new("out-of-memory", "a copy of a cache page"));
        }
        // SAFETY: as above; the cache and the new buffer do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), data.cast(), bytes.len()) };
        Ok(value)
    }),
    (c"writePage", |call| {
        let context = call.context()?;
        context.idle()?.write_page(call.number(1)?, call.number(2)?, call.bytes(3, &[UINT8])?)?;
        Ok(null_mut())
    }),
    (c"openFile", |call| {
        // 0 stands for none, so numbers come one higher.
        let held = call.number(3)?.checked_sub(1);
        let id = call.context()?.idle()?.open_file(&call.text(1)?, call.number(2)? as u64, held)?;
        Ok(double(call.env, id))
    }),
    (c"bringNear", |call| {
        call.context()?.idle()?.bring_near(call.number(1)?)?;
        Ok(null_mut())
    }),
    (c"closeFile", |call| {
        call.context()?.idle()?.close_file(call.number(1)?);
        Ok(null_mut())
    }),
    (c"weight", |call| {
        let shape = [call.number(3)?, call.number(4)?, call.number(5)?];
        let (file, bytes, apart) = (call.number(6)?, [call.number(7)?, call.number(8)?], call.number(9)? != 0);
        let context = call.context()?;
        let id = context.idle()?.file_weight(&call.text(1)?, &call.text(2)?, shape, file, bytes, apart)?;
        Ok(double(call.env, id))
    }),
    (c"constant", |call| {
        let shape = [call.number(3)?, call.number(4)?, call.number(5)?];
        let context = call.context()?;
        let id = context.idle()?.constant(&call.text(1)?, &call.text(2)?, shape, call.bytes(6, &[UINT8])?)?;
        Ok(double(call.env, id))
    }),
    (c"reshape", |call| {
        let shape = [call.number(2)?, call.number(3)?, call.number(4)?];
        Ok(double(call.env, call.context()?.idle()?.reshape(call.number(1)?, shape)?))
    }),
    (c"stack", |call| {
        let ids: Vec<usize> = call.words(2)?.iter().map(|&id| id as usize).collect();
        Ok(double(call.env, call.context()?.idle()?.stack(&call.text(1)?, &ids)?))
    }),
    (c"scaled", |call| {
        let context = call.context()?;
        let id = context.idle()?.scaled(call.number(1)?, call.number(2)?, call.number(3)?, call.number(4)?)?;
        Ok(double(call.env, id))
    }),
    (c"freeTensor", |call| {
        call.context()?.idle()?.tensors.free(call.number(1)?);
        Ok(null_mut())
    }),
    (c"freeCache", |call| {
        call.context()?.idle()?.free_cache(call.number(1)?);
        Ok(null_mut())
    }),
    (c"freeWeight", |call| {
        call.context()?.idle()?.free_weight(call.number(1)?);
        Ok(null_mut())
    }),
    (c"write", |call| {
        let bits: Vec<u32> = call.words(5)?.into_iter().map(i32::cast_unsigned).collect();
        call.context()?.idle()?.tensors.write(call.view(1)?, &bits)?;
        Ok(null_mut())
    }),
    (c"run", run),
    (c"runNow", run_now),
    (c"encodes", |call| {
        let known = |name: &str| Format::named(name).is_ok_and(encodes);
        Ok(double(call.env, usize::from(known(&call.text(0)?))))
    }),
    (c"encode", encode),
    (c"readRate", |call| {
        let context = call.context()?;
        let _lease = pool::lease();
        let rate = probe::read_rate(&mut *context.idle()?, call.view(1)?)?;
        Ok(double(call.env, rate as usize))
    }),
    (c"multiplyRate", |call| {
        let context = call.context()?;
        let _lease = pool::lease();
        let rate = probe::multiply_rate(&mut *context.idle()?);
        Ok(double(call.env, rate as usize))
    }),
    (c"abort", |call| {
        call.context()?.abort.store(true, Ordering::Relaxed);
        Ok(null_mut())
    }),
    (c"clearAbort", |call| {
        call.context()?.abort.store(false, Ordering::Relaxed);
        Ok(null_mut())
    }),
];

fn create(call: &Call) -> Outcome<Value> {
    let context = Arc::new(Context::new(call.number(0)?, &call.text(1)?)?);
    let data = Box::into_raw(Box::new(context)).cast();
    let mut value = null_mut();
    // SAFETY: `drop_context` frees exactly this box, once.
    unsafe { napi_create_external(call.env, data, drop_context, null_mut(), &mut value) };
    Ok(value)
}

unsafe extern "C" fn drop_context(_env: Env, data: *mut c_void, _hint: *mut c_void) {
    // SAFETY: Node calls this once, with the box that `create` gave it.
    drop(unsafe { Box::from_raw(data.cast::<Arc<Context>>()) });
}

/// encode(isa, name, from, bytes, to, cols, importance): an ArrayBuffer of the rows in their new format.
fn encode(call: &Call) -> Outcome<Value> {
    let (kernels, name, cols) = (simd::choose(&call.text(0)?)?, call.text(1)?, call.number(5)?);
    let (from, to) = (Format::named(&call.text(2)?)?, Format::named(&call.text(4)?)?);
    let bytes = call.bytes(3, &[UINT8])?;
    let importance: Vec<f32> = call.words(6)?.into_iter().map(|bits| f32::from_bits(bits.cast_unsigned())).collect();
    let (from_row, to_row) = (from.row_bytes(cols), to.row_bytes(cols));
    let rows = from_row.filter(|&row| row > 0 && bytes.len().is_multiple_of(row)).map(|row| bytes.len() / row);
    let (Some(rows), Some(to_row), true) = (rows, to_row, encodes(to)) else {
        return Err(misfit(format!("tensor {name}"), "whole rows of both formats", format!("{cols} columns")));
    };
    if !importance.is_empty() && importance.len() != cols {
        return Err(misfit(format!("the importance of {name}"), format!("{cols} columns"), importance.len()));
    }
    let size = rows * to_row;
    let (mut data, mut value) = (null_mut(), null_mut());
    // SAFETY: Node allocates the buffer, of zeros, and reports a status.
    if unsafe { napi_create_arraybuffer(call.env, size, &mut data, &mut value) } != 0 {
        return Err(Fault::new("out-of-memory", format!("tensor {name}")).expected(format!("{size} bytes")));
    }
    // SAFETY: the buffer is new, of this size, and nobody else has it yet.
    let out = if size == 0 { &mut [][..] } else { unsafe { std::slice::from_raw_parts_mut(data.cast(), size) } };
    transcode(kernels, (from, bytes), (to, out), cols, &importance).map_err(|odd| {
        Fault::new("tensor-not-finite", format!("tensor {name}"))
            .expected("finite numbers")
            .got(odd.to_string())
            .next("the file is damaged, or its training went wrong: fetch it again")
    })?;
    Ok(value)
}

/// runNow(context, program, id, start, cols, rows): as `run`, but on the calling thread, and it returns the ArrayBuffer
/// itself; undefined, with nothing done, while this context or another one computes.
fn run_now(call: &Call) -> Outcome<Value> {
    let (context, program, view) = (call.context()?, call.words(1)?, call.view(2)?);
    let (Ok(mut state), Some(_lease)) = (context.idle(), pool::lease_if_free()) else { return Ok(null_mut()) };
    program::run(&mut state, &program, &context.abort)?;
    words_of(call.env, &state.tensors.read(view)?)
}

/// An ArrayBuffer of words.
fn words_of(env: Env, bits: &[u32]) -> Outcome<Value> {
    let (mut data, mut value) = (null_mut(), null_mut());
    // SAFETY: Node allocates the buffer and reports a status.
    let status = unsafe { napi_create_arraybuffer(env, bits.len() * 4, &mut data, &mut value) };
    if status != 0 {
        return Err(Fault::new("out-of-memory", "read").expected(format!("{} bytes", bits.len() * 4)));
    }
    if !bits.is_empty() {
        // SAFETY: the buffer has room for all the words.
        unsafe { std::ptr::copy_nonoverlapping(bits.as_ptr(), data.cast(), bits.len()) };
    }
    Ok(value)
}

/// One run of a program, from its queueing to its promise.
struct Run {
    context: Arc<Context>,
    program: Vec<i32>,
    view: View,
    answer: Outcome<Vec<u32>>,
    deferred: *mut c_void,
    work: *mut c_void,
}

/// run(context, program, id, start, cols, rows): a promise of an ArrayBuffer with the bits of the view.
fn run(call: &Call) -> Outcome<Value> {
    let (context, program, view) = (call.context()?, call.words(1)?, call.view(2)?);
    let (mut deferred, mut promise) = (null_mut(), null_mut());
    // SAFETY: `env` is the environment of this call.
    unsafe { napi_create_promise(call.env, &mut deferred, &mut promise) };
    let run = Run { context, program, view, answer: Ok(Vec::new()), deferred, work: null_mut() };
    let run = Box::into_raw(Box::new(run));
    // SAFETY: the box stays alive until `finish` takes it back; `execute` alone touches it in between.
    unsafe {
        let name = string(call.env, "hadal");
        napi_create_async_work(call.env, null_mut(), name, execute, finish, run.cast(), &mut (*run).work);
        napi_queue_async_work(call.env, (*run).work);
    }
    Ok(promise)
}

unsafe extern "C" fn execute(_env: Env, data: *mut c_void) {
    // SAFETY: `run` gave this box to the work, and nobody else uses it while the work runs.
    let run = unsafe { &mut *data.cast::<Run>() };
    run.answer = guarded(|| {
        let mut state = run.context.wait();
        let _lease = pool::lease();
        program::run(&mut state, &run.program, &run.context.abort)?;
        state.tensors.read(run.view)
    });
}

unsafe extern "C" fn finish(env: Env, _status: Status, data: *mut c_void) {
    // SAFETY: the work has ended; this takes back the box that `run` made.
    let run = unsafe { Box::from_raw(data.cast::<Run>()) };
    let answer = run.answer.and_then(|bits| words_of(env, &bits));
    // SAFETY: the deferred and the work are those of this run and are used for the last time.
    unsafe {
        match answer {
            Ok(value) => napi_resolve_deferred(env, run.deferred, value),
            Err(fault) => napi_reject_deferred(env, run.deferred, error(env, &fault)),
        };
        napi_delete_async_work(env, run.work);
    }
}

unsafe extern "C" fn call_function(env: Env, info: Value) -> Value {
    let mut call = Call { env, values: [null_mut(); MOST_ARGUMENTS], count: MOST_ARGUMENTS };
    let mut data = null_mut();
    // SAFETY: the array has room for `count` values.
    unsafe {
        napi_get_cb_info(env, info, &mut call.count, call.values.as_mut_ptr(), null_mut(), &mut data);
    }
    call.count = call.count.min(MOST_ARGUMENTS);
    let answer = guarded(|| match FUNCTIONS.get(data as usize) {
        Some((_, body)) => body(&call),
        None => Err(wrong(0, "a function")),
    });
    answer.unwrap_or_else(|fault| {
        // SAFETY: `env` is the environment of this call.
        unsafe { napi_throw(env, error(env, &fault)) };
        null_mut()
    })
}

/// Node calls this when it loads the addon; it fills `exports`.
///
/// # Safety
/// Called by Node alone, with its environment and the exports object.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn napi_register_module_v1(env: Env, exports: Value) -> Value {
    for (index, (name, _)) in FUNCTIONS.iter().enumerate() {
        let mut function = null_mut();
        // SAFETY: names end in zero; `data` is an index and never dereferenced.
        unsafe {
            napi_create_function(
                env,
                name.as_ptr(),
                AUTO_LENGTH,
                call_function,
                null::<c_void>().wrapping_add(index).cast_mut(),
                &mut function,
            );
            napi_set_named_property(env, exports, name.as_ptr(), function);
        }
    }
    exports
}
