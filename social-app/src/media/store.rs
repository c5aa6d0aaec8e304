//! Putting into the object store and taking away.

use std::path::Path as FilePath;
use std::sync::Arc;

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{ObjectStore, PutPayload};
use tokio::io::AsyncWriteExt as _;

/// Larger files are sent in parts of this size.
const PART: usize = 8 << 20;
const ONE_AFTER_ANOTHER: usize = 1;

/// Stores a file. It is there whole or not at all.
pub async fn put_file(
    store: &Arc<dyn ObjectStore>,
    name: &Path,
    file: &FilePath,
) -> anyhow::Result<()> {
    let mut source = tokio::fs::File::open(file).await?;
    let mut target = BufWriter::with_capacity(Arc::clone(store), name.clone(), PART)
        .with_max_concurrency(ONE_AFTER_ANOTHER);
    let copied = tokio::io::copy_buf(
        &mut tokio::io::BufReader::with_capacity(256 << 10, &mut source),
        &mut target,
    )
    .await;
    let done = match copied {
        Ok(_) => target.shutdown().await,
        Err(error) => {
            // What is left of it is the store's to clean up.
            let _ = target.abort().await;
            Err(error)
        }
    };
    done.with_context(|| format!("storing {name}"))
}

/// Stores bytes.
pub async fn put(store: &dyn ObjectStore, name: &Path, bytes: Vec<u8>) -> anyhow::Result<()> {
    let stored = store.put(name, PutPayload::from(bytes)).await;
    stored.map(drop).with_context(|| format!("storing {name}"))
}

/// Takes away one object; one that is not there is no error.
pub async fn remove(store: &dyn ObjectStore, name: &Path) -> anyhow::Result<()> {
    match store.delete(name).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("deleting {name}")),
    }
}

/// Takes away all that is below a name. Gives how many.
pub async fn remove_all(store: &dyn ObjectStore, below: &Path) -> anyhow::Result<usize> {
    let names: Vec<Path> = store
        .list(Some(below))
        .map_ok(|object| object.location)
        .try_collect()
        .await?;
    let count = names.len();
    let mut removals = futures_util::stream::iter(names)
        .map(async |name| remove(store, &name).await)
        .buffer_unordered(8);
    while let Some(removed) = removals.next().await {
        removed?;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use object_store::local::LocalFileSystem;

    use super::*;

    fn store() -> (tempfile::TempDir, Arc<dyn ObjectStore>) {
        let directory = tempfile::tempdir().unwrap();
        let store = LocalFileSystem::new_with_prefix(directory.path()).unwrap();
        (directory, Arc::new(store))
    }

    #[tokio::test]
    async fn a_large_file_comes_back_as_it_was() {
        let (_directory, store) = store();
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..(PART + PART / 2))
            .map(|place| (place % 251) as u8)
            .collect();
        std::fs::write(file.path(), &bytes).unwrap();
        let name = Path::from("a/b");
        put_file(&store, &name, file.path()).await.unwrap();
        assert!(store.get(&name).await.unwrap().bytes().await.unwrap() == bytes);
    }

    #[tokio::test]
    async fn all_below_a_name_is_removed_and_nothing_beside_it() {
        let (_directory, store) = store();
        for name in [
            "public/1/1/a",
            "public/1/1/b",
            "public/1/12/a",
            "public/12/1/a",
        ] {
            put(&*store, &Path::from(name), vec![1]).await.unwrap();
        }
        assert_eq!(
            remove_all(&*store, &Path::from("public/1/1"))
                .await
                .unwrap(),
            2
        );
        assert_eq!(
            remove_all(&*store, &Path::from("public/1")).await.unwrap(),
            1
        );
        assert!(store.head(&Path::from("public/12/1/a")).await.is_ok());
        remove(&*store, &Path::from("public/nothing"))
            .await
            .unwrap();
    }
}
