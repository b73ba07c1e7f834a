//! Fashion-MNIST: from a folder of the original files, or the excerpt in this repository.

use std::{fs::File, io::Read, path::Path, sync::Arc};

use bitnet_burn_examples::Error;
use burn::{
    data::{dataloader::batcher::Batcher, dataset::InMemDataset},
    tensor::{Device, Int, Tensor, TensorData},
};

use crate::idx;

/// Width and height of an image.
pub const SIDE: usize = 28;

pub const CLASSES: usize = 10;

const PIXELS: usize = SIDE * SIDE;

/// Mean and standard deviation of all pixels of the training images, scaled to 0..1.
const PIXEL_MEAN: f32 = 0.2860;
const PIXEL_DEVIATION: f32 = 0.3530;

/// First word of an IDX file of bytes with three dimensions and with one.
const IMAGES_MAGIC: u32 = 0x0803;
const LABELS_MAGIC: u32 = 0x0801;

/// File names in every distribution of the data set.
const TRAIN: [&str; 2] = ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"];
const TEST: [&str; 2] = ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"];

const TRAIN_EXCERPT: [&[u8]; 2] = [
    include_bytes!("../data/fashion_mnist/train-images-idx3-ubyte.gz"),
    include_bytes!("../data/fashion_mnist/train-labels-idx1-ubyte.gz"),
];
const TEST_EXCERPT: [&[u8]; 2] = [
    include_bytes!("../data/fashion_mnist/t10k-images-idx3-ubyte.gz"),
    include_bytes!("../data/fashion_mnist/t10k-labels-idx1-ubyte.gz"),
];

/// An image with pixels from 0 to 255, and its class.
#[derive(Debug, Clone)]
pub struct Image {
    pixels: Vec<u8>,
    label: u8,
}

pub type Images = Arc<InMemDataset<Image>>;

pub struct FashionMnist {
    pub train: Images,
    pub test: Images,
}

impl FashionMnist {
    /// Loads the files in `folder`, or the excerpt.
    pub fn load(folder: Option<&Path>) -> Result<Self, Error> {
        let images = |names: [&str; 2], excerpt: [&[u8]; 2]| match folder {
            Some(folder) => read_files(names.map(|name| folder.join(name))),
            None => read(names.map(Path::new), excerpt),
        };
        Ok(Self {
            train: images(TRAIN, TRAIN_EXCERPT)?,
            test: images(TEST, TEST_EXCERPT)?,
        })
    }
}

fn read_files(paths: [impl AsRef<Path>; 2]) -> Result<Images, Error> {
    let paths = paths.each_ref().map(AsRef::as_ref);
    let open = |path: &Path| {
        File::open(path).map_err(|error| format!("cannot open {}: {error}", path.display()))
    };
    read(paths, [open(paths[0])?, open(paths[1])?])
}

fn read([images, labels]: [&Path; 2], files: [impl Read; 2]) -> Result<Images, Error> {
    let [image_file, label_file] = files;
    let of = |path: &Path, error: String| format!("{} {error}", path.display());
    let pixels = read_pixels(image_file).map_err(|error| of(images, error))?;
    let labels = read_labels(label_file, pixels.len() / PIXELS)
        .map_err(|error| of(labels, error))?
        .into_iter();
    let image = |(pixels, label): (&[u8], u8)| Image {
        pixels: pixels.to_vec(),
        label,
    };
    let images = pixels.chunks_exact(PIXELS).zip(labels).map(image);
    Ok(Arc::new(InMemDataset::new(images.collect())))
}

fn read_pixels(file: impl Read) -> Result<Vec<u8>, String> {
    let ([_, rows, columns], pixels) = idx::read(file, IMAGES_MAGIC)?;
    let found = [rows, columns];
    if found != [SIDE as u32; 2] {
        let expected = [SIDE; 2];
        return Err(format!(
            "holds images of {found:?} pixels, expected {expected:?}"
        ));
    }
    match pixels.is_empty() {
        true => Err("holds no images".to_string()),
        false => Ok(pixels),
    }
}

fn read_labels(file: impl Read, images: usize) -> Result<Vec<u8>, String> {
    let ([_], labels) = idx::read(file, LABELS_MAGIC)?;
    if labels.len() != images {
        let labels = labels.len();
        return Err(format!(
            "holds {labels} labels, expected one for each of the {images} images"
        ));
    }
    let none_of_the_classes = |&label: &u8| usize::from(label) >= CLASSES;
    match labels.iter().position(none_of_the_classes) {
        Some(index) => Err(format!(
            "has label {} at index {index}, expected one below {CLASSES}",
            labels[index]
        )),
        None => Ok(labels),
    }
}

/// A batch of normalized images `[batch, 1, 28, 28]` and their classes `[batch]`.
#[derive(Debug, Clone)]
pub struct ImageBatch {
    pub images: Tensor<4>,
    pub labels: Tensor<1, Int>,
}

#[derive(Clone)]
pub struct ImageBatcher;

impl Batcher<Image, ImageBatch> for ImageBatcher {
    fn batch(&self, images: Vec<Image>, device: &Device) -> ImageBatch {
        let normalize = |&byte: &u8| (f32::from(byte) / 255.0 - PIXEL_MEAN) / PIXEL_DEVIATION;
        let labels: Vec<i32> = images.iter().map(|image| image.label.into()).collect();
        let pixels = images.iter().flat_map(|image| &image.pixels);
        let pixels: Vec<f32> = pixels.map(normalize).collect();
        let (pixels_shape, labels_shape) = ([images.len(), 1, SIDE, SIDE], [images.len()]);
        ImageBatch {
            images: Tensor::from_data(TensorData::new(pixels, pixels_shape), device),
            labels: Tensor::from_data(TensorData::new(labels, labels_shape), device),
        }
    }
}
