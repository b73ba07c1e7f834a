use burn::{
    module::{Content, DisplaySettings, Module, ModuleDisplay, Param},
    nn::{Dropout, DropoutConfig},
    tensor::{DType, Int, Tensor, module::embedding},
};

use super::projection::by_tokens;

/// Product of two factors beside a matrix of the same shape: `s A B`.
///
/// Source: [LoRA](https://arxiv.org/abs/2106.09685).
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct LowRankProduct {
    /// Factor `A` of shape `[rows, rank]`.
    pub a: Param<Tensor<2>>,
    /// Factor `B` of shape `[rank, columns]`.
    pub b: Param<Tensor<2>>,
    /// Dropout of the input of a linear map.
    pub dropout: Dropout,
    /// Factor `s` of the product.
    pub scaling: f64,
}

impl LowRankProduct {
    /// Creates the product of factors `a: [rows, rank]` and `b: [rank, columns]`.
    ///
    /// # Panics
    ///
    /// If the ranks of the factors differ, or `dropout` is no probability.
    #[track_caller]
    pub fn new(a: Param<Tensor<2>>, b: Param<Tensor<2>>, scaling: f64, dropout: f64) -> Self {
        assert!(
            a.shape()[1] == b.shape()[0],
            "factors [rows, rank] and [rank, columns], got {:?} and {:?}",
            a.shape(),
            b.shape()
        );
        Self {
            a,
            b,
            dropout: DropoutConfig::new(dropout).init(),
            scaling,
        }
    }

    /// Applies the matrix as a linear map: `s B(A(dropout(x)))`, in the type of the factors.
    ///
    /// # Shapes
    ///
    /// - x: `[.., rows]`
    /// - output: `[.., columns]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let (a, b) = (self.a.val(), self.b.val());
        let x = self.dropout.forward(x.cast(a.dtype()));
        by_tokens(x, |x| x.matmul(a).matmul(b) * self.scaling)
    }

    /// Returns the rows of the matrix: `s A[tokens] B`, in the type of the factors.
    ///
    /// # Shapes
    ///
    /// - tokens: `[batch, positions]`
    /// - output: `[batch, positions, columns]`
    pub fn rows(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let rows = embedding(self.a.val(), tokens);
        by_tokens(rows, |rows| rows.matmul(self.b.val()) * self.scaling)
    }

    /// Returns the matrix `s A B` of shape `[rows, columns]`, in `f32`.
    pub fn matrix(&self) -> Tensor<2> {
        let [a, b] = [&self.a, &self.b].map(|factor| factor.val().detach().cast(DType::F32));
        a.matmul(b) * self.scaling
    }
}

impl ModuleDisplay for LowRankProduct {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new()
            .with_new_line_after_attribute(false)
            .optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        let [rows, rank] = self.a.shape().dims();
        let [_, columns] = self.b.shape().dims();
        content
            .add("rows", &rows)
            .add("columns", &columns)
            .add("rank", &rank)
            .add("scaling", &self.scaling)
            .optional()
    }
}

/// Products beside the embedding table or the output head of a [`BitNetLm`](super::BitNetLm), by name. The active
/// ones are added.
#[derive(Module, Debug, Default)]
#[module(custom_display)]
pub struct LowRankProducts {
    /// The products, in the order in which they were added.
    pub products: Vec<LowRankProduct>,
    #[module(skip)]
    entries: Vec<Entry>,
}

/// Name of a product, and whether it takes part.
#[derive(Debug, Clone)]
struct Entry {
    name: String,
    is_active: bool,
}

impl LowRankProducts {
    /// Adds an active product.
    ///
    /// # Panics
    ///
    /// If there is a product of this name.
    #[track_caller]
    pub fn add(&mut self, name: &str, product: LowRankProduct) {
        assert!(self.get(name).is_none(), "two products are called {name:?}");
        self.products.push(product);
        self.entries.push(Entry {
            name: name.to_string(),
            is_active: true,
        });
    }

    /// Removes a product.
    pub fn remove(&mut self, name: &str) -> Option<LowRankProduct> {
        let at = self.position(name)?;
        self.entries.remove(at);
        Some(self.products.remove(at))
    }

    /// Makes exactly the named products active.
    pub fn set_active(&mut self, names: &[&str]) {
        for entry in &mut self.entries {
            entry.is_active = names.contains(&entry.name.as_str());
        }
    }

    /// Returns the names of the products.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// Returns the product of a name.
    pub fn get(&self, name: &str) -> Option<&LowRankProduct> {
        self.position(name).map(|at| &self.products[at])
    }

    /// Returns the product of a name, to change it.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut LowRankProduct> {
        self.position(name).map(|at| &mut self.products[at])
    }

    /// Returns the active products.
    pub fn active(&self) -> impl Iterator<Item = &LowRankProduct> {
        let products = self.entries.iter().zip(&self.products);
        products
            .filter(|(entry, _)| entry.is_active)
            .map(|(_, p)| p)
    }

    /// Adds the active products, each computed by `product`, to what the matrix itself gives.
    pub(super) fn added_to<const D: usize>(
        &self,
        y: Tensor<D>,
        product: impl Fn(&LowRankProduct) -> Tensor<D>,
    ) -> Tensor<D> {
        let dtype = y.dtype();
        self.active().fold(y, |y, p| y + product(p).cast(dtype))
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.entries.iter().position(|entry| entry.name == name)
    }
}

impl ModuleDisplay for LowRankProducts {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new().optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        let named = self.names().zip(&self.products);
        let content = named.fold(content, |content, (name, p)| content.add(name, p));
        content.optional()
    }
}
