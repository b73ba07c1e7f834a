//! Fashion-MNIST: from a folder of the original files, or the excerpt in this repository.

use std::{fs::File, io::Read, path::Path};

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::idx::{self, DataError, DataErrorKind};

/// Width and height of an image.
pub const SIDE: usize = 28;

pub const CLASSES: usize = 10;

const PIXELS: usize = SIDE * SIDE;

/// Mean and standard deviation of all pixels of the training images, scaled to 0..1.
const PIXEL_MEAN: f32 = 0.2860;
const PIXEL_DEVIATION: f32 = 0.3530;

/// First word of an IDX file of bytes with three dimensions, and with one.
const IMAGES_MAGIC: u32 = 0x0803;
const LABELS_MAGIC: u32 = 0x0801;

/// Names that the files have in every distribution of the data set.
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

pub struct FashionMnist {
    pub train: Split,
    pub test: Split,
}

impl FashionMnist {
    /// The files in `folder`, or the excerpt.
    pub fn load(folder: Option<&Path>) -> Result<Self, DataError> {
        let split = |names: [&str; 2], excerpt| match folder {
            Some(folder) => Split::load(names.map(|name| folder.join(name))),
            None => Split::read(names.map(Path::new), excerpt),
        };
        Ok(Self {
            train: split(TRAIN, TRAIN_EXCERPT)?,
            test: split(TEST, TEST_EXCERPT)?,
        })
    }
}

/// Normalised images and their classes.
pub struct Split {
    pixels: Vec<f32>,
    labels: Vec<u8>,
}

impl Split {
    fn load(paths: [impl AsRef<Path>; 2]) -> Result<Self, DataError> {
        let paths = paths.each_ref().map(AsRef::as_ref);
        let open = |path: &Path| File::open(path).map_err(|e| DataErrorKind::Open(e).of(path));
        Self::read(paths, [open(paths[0])?, open(paths[1])?])
    }

    fn read([images, labels]: [&Path; 2], files: [impl Read; 2]) -> Result<Self, DataError> {
        let [image_file, label_file] = files;
        let pixels = read_pixels(image_file).map_err(|kind| kind.of(images))?;
        let num_images = pixels.len() / PIXELS;
        let labels = read_labels(label_file, num_images).map_err(|kind| kind.of(labels))?;
        let normalise = |byte: u8| (f32::from(byte) / 255.0 - PIXEL_MEAN) / PIXEL_DEVIATION;
        Ok(Self {
            pixels: pixels.into_iter().map(normalise).collect(),
            labels,
        })
    }

    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// The images `[batch, 1, 28, 28]` and classes `[batch]` at the given indices.
    pub fn batch(&self, indices: &[usize], device: &Device) -> (Tensor<4>, Tensor<1, Int>) {
        let pixels: Vec<f32> = indices
            .iter()
            .flat_map(|index| &self.pixels[index * PIXELS..][..PIXELS])
            .copied()
            .collect();
        let labels: Vec<i32> = indices.iter().map(|i| self.labels[*i].into()).collect();
        let shape = [indices.len(), 1, SIDE, SIDE];
        (
            Tensor::from_data(TensorData::new(pixels, shape), device),
            Tensor::from_data(TensorData::new(labels, [indices.len()]), device),
        )
    }

    /// Percentage of the images whose class is the one predicted.
    pub fn accuracy(&self, predictions: &[u8]) -> f64 {
        let pairs = self.labels.iter().zip(predictions);
        let right = pairs.filter(|(label, prediction)| label == prediction);
        100.0 * right.count() as f64 / self.len() as f64
    }
}

fn read_pixels(file: impl Read) -> Result<Vec<u8>, DataErrorKind> {
    let ([_, rows, columns], pixels) = idx::read(file, IMAGES_MAGIC)?;
    let found = [rows, columns];
    if found != [SIDE as u32; 2] {
        let expected = [SIDE; 2];
        return Err(DataErrorKind::ImageSize { expected, found });
    }
    match pixels.is_empty() {
        true => Err(DataErrorKind::Empty),
        false => Ok(pixels),
    }
}

fn read_labels(file: impl Read, images: usize) -> Result<Vec<u8>, DataErrorKind> {
    let ([_], labels) = idx::read(file, LABELS_MAGIC)?;
    if labels.len() != images {
        let labels = labels.len();
        return Err(DataErrorKind::Count { images, labels });
    }
    let none_of_the_classes = |&label: &u8| usize::from(label) >= CLASSES;
    match labels.iter().position(none_of_the_classes) {
        Some(index) => Err(DataErrorKind::Label {
            index,
            expected_below: CLASSES,
            found: labels[index],
        }),
        None => Ok(labels),
    }
}
