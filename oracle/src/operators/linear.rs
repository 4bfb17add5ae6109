//! The fully connected layer: `y[n, o] = Σ_i x[n, i]·weight[o, i] + bias[o]`.

use crate::{Arithmetic, Bounded};

/// Shape of a layer: x `[rows, inputs]`, weight `[outputs, inputs]`, y `[rows, outputs]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear {
    /// N.
    pub rows: usize,
    /// I.
    pub inputs: usize,
    /// O.
    pub outputs: usize,
}

impl Linear {
    /// Returns one element of y. The bias is one more term of the sum.
    pub fn forward(
        &self,
        (x, weight, bias): (&[f64], &[f64], &[f64]),
        element: usize,
        arithmetic: &Arithmetic,
    ) -> Bounded {
        let (row, output) = (element / self.outputs, element % self.outputs);
        let products =
            (0..self.inputs).map(|i| (x[row * self.inputs + i], weight[output * self.inputs + i]));
        arithmetic
            .sum_of_products(products)
            .plus(Bounded::exact(bias[output]), arithmetic)
    }

    /// Returns one element of `dx[n, i] = Σ_o dy[n, o]·weight[o, i]`.
    pub fn dgrad(
        &self,
        dy: &[f64],
        weight: &[f64],
        element: usize,
        arithmetic: &Arithmetic,
    ) -> Bounded {
        let (row, input) = (element / self.inputs, element % self.inputs);
        arithmetic.sum_of_products(
            (0..self.outputs)
                .map(|o| (dy[row * self.outputs + o], weight[o * self.inputs + input])),
        )
    }

    /// Returns one element of `dweight[o, i] = Σ_n dy[n, o]·x[n, i]`.
    pub fn wgrad(&self, x: &[f64], dy: &[f64], element: usize, arithmetic: &Arithmetic) -> Bounded {
        let (output, input) = (element / self.inputs, element % self.inputs);
        arithmetic.sum_of_products(
            (0..self.rows).map(|n| (dy[n * self.outputs + output], x[n * self.inputs + input])),
        )
    }
}
