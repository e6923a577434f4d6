//! Files of a Sandbox.

use arl_client::live::{Entry, FileKind};
use pyo3::{
    prelude::*,
    types::{PyBytes, PyList},
};

use crate::{
    call::Call,
    transfer::{Download, Upload},
};

/// Files, with the rights of one user. Paths are bytes.
#[pyclass(frozen)]
pub(crate) struct Files {
    files: arl_client::Files,
}

impl Files {
    pub(crate) fn new(files: arl_client::Files) -> Self {
        Self { files }
    }
}

#[pymethods]
impl Files {
    #[pyo3(signature = (path, offset, length))]
    fn read(&self, path: Vec<u8>, offset: u64, length: Option<u64>) -> Call {
        let files = self.files.clone();
        let work = async move { files.read_range(path, offset, length).await };
        Call::new(work, |py, content| Ok(PyBytes::new(py, &content).into_any().unbind()))
    }

    #[pyo3(signature = (path, content, mode))]
    fn write(&self, path: Vec<u8>, content: Vec<u8>, mode: Option<u32>) -> Call {
        let files = self.files.clone();
        Call::count(async move { files.write_from(path, mode, &mut &*content).await })
    }

    fn append(&self, path: Vec<u8>, content: Vec<u8>) -> Call {
        let files = self.files.clone();
        Call::unit(async move { files.append(path, content).await })
    }

    fn stat(&self, path: Vec<u8>) -> Call {
        let files = self.files.clone();
        Call::new(async move { files.stat(path).await }, |py, entry| {
            Ok(entry_to_python(py, &entry).into_pyobject(py)?.into_any().unbind())
        })
    }

    #[pyo3(signature = (path, depth))]
    fn list(&self, path: Vec<u8>, depth: Option<u32>) -> Call {
        let files = self.files.clone();
        Call::new(async move { files.list(path, depth).await }, |py, entries| {
            let rows: Vec<_> = entries.iter().map(|entry| entry_to_python(py, entry)).collect();
            Ok(PyList::new(py, rows)?.into_any().unbind())
        })
    }

    fn make_dir(&self, path: Vec<u8>) -> Call {
        let files = self.files.clone();
        Call::unit(async move { files.make_dir(path).await })
    }

    fn remove(&self, path: Vec<u8>, recursive: bool) -> Call {
        let files = self.files.clone();
        Call::unit(async move { files.remove(path, recursive).await })
    }

    fn rename(&self, from: Vec<u8>, to: Vec<u8>) -> Call {
        let files = self.files.clone();
        Call::unit(async move { files.rename(from, to).await })
    }

    fn chmod(&self, path: Vec<u8>, mode: u32) -> Call {
        let files = self.files.clone();
        Call::unit(async move { files.chmod(path, mode).await })
    }

    #[pyo3(signature = (path, offset, length))]
    fn download(&self, path: Vec<u8>, offset: u64, length: Option<u64>) -> PyResult<Download> {
        let files = self.files.clone();
        Download::start(|mut writer| async move { files.read_to(path, offset, length, &mut writer).await })
    }

    /// A directory as a tar archive.
    fn pack(&self, directory: Vec<u8>) -> PyResult<Download> {
        let files = self.files.clone();
        Download::start(|mut writer| async move { files.pack(directory, &mut writer).await })
    }

    /// Files, and directories with all that is in them, as a tar archive of absolute paths.
    fn snapshot(&self, paths: Vec<Vec<u8>>) -> PyResult<Download> {
        let files = self.files.clone();
        Download::start(|mut writer| async move { files.snapshot(paths, &mut writer).await.map(|made| made.bytes) })
    }

    #[pyo3(signature = (path, mode))]
    fn upload(&self, path: Vec<u8>, mode: Option<u32>) -> PyResult<Upload> {
        let files = self.files.clone();
        Upload::start(|mut reader| async move { files.write_from(path, mode, &mut reader).await })
    }

    /// Unpacks a tar archive into a directory.
    fn unpack(&self, directory: Vec<u8>) -> PyResult<Upload> {
        let files = self.files.clone();
        Upload::start(|mut reader| async move { files.unpack(directory, &mut reader).await })
    }
}

/// Path, type, size, mode, uid, gid, seconds since 1970, target.
type PythonEntry<'py> = (Bound<'py, PyBytes>, &'static str, u64, u32, u32, u32, f64, Option<Bound<'py, PyBytes>>);

#[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit for longer than files will")]
fn entry_to_python<'py>(py: Python<'py>, entry: &Entry) -> PythonEntry<'py> {
    let kind = match entry.kind {
        FileKind::File => "file",
        FileKind::Directory => "dir",
        FileKind::Link => "link",
        FileKind::Pipe => "pipe",
        FileKind::Socket => "socket",
        FileKind::Device => "device",
    };
    let modified = entry.modified as f64 + f64::from(entry.modified_ns) / 1e9;
    let target = entry.target.as_ref().map(|target| PyBytes::new(py, target));
    (PyBytes::new(py, &entry.path), kind, entry.size, entry.mode, entry.uid, entry.gid, modified, target)
}
