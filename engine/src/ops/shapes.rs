//! Other shapes of the same numbers, and parts of them, by the names that PyTorch gives them. All are
//! made of `reshape`, which copies nothing, and of the ops `slice`, `concatenate` and `gather`.

use crate::{Ids, Shape, Tensor};

impl Tensor {
    /// The tensor with an axis of size 1 put in, which becomes number `axis` (negative: from the end)
    /// of the result; nothing is copied.
    ///
    /// # Panics
    /// If the result would have no such axis, or more axes than a tensor can have.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::zeros([2, 3], &Device::cpu());
    /// assert_eq!(x.unsqueeze(1).shape().to_string(), "[2, 1, 3]");
    /// assert_eq!(x.unsqueeze(-1).shape().to_string(), "[2, 3, 1]");
    /// ```
    #[track_caller]
    pub fn unsqueeze(&self, axis: isize) -> Tensor {
        let shape = unsqueezed("unsqueeze", self.shape(), axis);
        self.reshape(shape)
    }

    /// The tensor without `axis` (negative: from the end), whose size must be 1; nothing is copied.
    ///
    /// # Panics
    /// If there is no such axis, or its size is not 1 (where PyTorch leaves the tensor as it is).
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::zeros([2, 1, 3], &Device::cpu());
    /// assert_eq!(x.squeeze(1).shape().to_string(), "[2, 3]");
    /// ```
    #[track_caller]
    pub fn squeeze(&self, axis: isize) -> Tensor {
        let shape = self.shape();
        let axis = shape.resolve(axis, "squeeze");
        assert!(shape[axis] == 1, "squeeze: axis {axis} of {shape} does not have size 1");
        self.reshape(&[&shape[..axis], &shape[axis + 1..]].concat()[..])
    }

    /// The axes from `first` to `last`, both included (negative: from the end), made one; nothing is
    /// copied.
    ///
    /// # Panics
    /// If there is no such axis, or `last` comes before `first`.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::zeros([2, 3, 4], &Device::cpu());
    /// assert_eq!(x.flatten(1, -1).shape().to_string(), "[2, 12]");
    /// assert_eq!(x.flatten(0, -1).shape().to_string(), "[24]");
    /// ```
    #[track_caller]
    pub fn flatten(&self, first: isize, last: isize) -> Tensor {
        let shape = self.shape();
        let [first, last] = [shape.resolve(first, "flatten"), shape.resolve(last, "flatten")];
        assert!(first <= last, "flatten: axis {last} of {shape} comes before axis {first}");
        let together = shape[first..=last].iter().product();
        self.reshape(&[&shape[..first], &[together], &shape[last + 1..]].concat()[..])
    }

    /// Tensors of one shape, one after the other along a new axis, which becomes number `axis`
    /// (negative: from the end) of the result.
    ///
    /// # Panics
    /// If there are no tensors, their shapes differ, or the result would have no such axis.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::cpu();
    /// let a = Tensor::new(&[1.0, 2.0], [2], &device);
    /// let b = Tensor::new(&[3.0, 4.0], [2], &device);
    /// assert_eq!(Tensor::stack(&[&a, &b], 0).to_vec()?, [1.0, 2.0, 3.0, 4.0]);
    /// assert_eq!(Tensor::stack(&[&a, &b], 1).to_vec()?, [1.0, 3.0, 2.0, 4.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn stack(tensors: &[&Tensor], axis: isize) -> Tensor {
        assert!(!tensors.is_empty(), "stack: there are no tensors");
        let shape = tensors[0].shape();
        let with_axis = unsqueezed("stack", shape, axis);
        for tensor in tensors {
            let other = tensor.shape();
            assert!(other == shape, "stack: the shapes {shape} and {other} differ");
        }
        let parts: Vec<Tensor> = tensors.iter().map(|tensor| tensor.reshape(with_axis)).collect();
        // A negative axis counts from the end of the result, so it means the same here.
        Tensor::concatenate(&parts.iter().collect::<Vec<_>>(), axis)
    }

    /// The tensor cut along `axis` (negative: from the end) into parts of `size`, the last perhaps
    /// smaller.
    ///
    /// # Panics
    /// If there is no such axis, or `size` is 0.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[1.0, 2.0, 3.0, 4.0, 5.0], [5], &Device::cpu());
    /// let parts = x.split(2, 0);
    /// assert_eq!(parts[1].to_vec()?, [3.0, 4.0]);
    /// assert_eq!(parts[2].to_vec()?, [5.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn split(&self, size: usize, axis: isize) -> Vec<Tensor> {
        let shape = self.shape();
        let count = shape[shape.resolve(axis, "split")];
        assert!(size > 0, "split: parts of size 0 of {shape}");
        let starts = (0..count.max(1)).step_by(size);
        starts.map(|start| self.slice(axis, start..count.min(start + size))).collect()
    }

    /// The tensor cut along `axis` (negative: from the end) into parts of the sizes given.
    ///
    /// # Panics
    /// If there is no such axis, or the sizes do not add up to its size.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3], &Device::cpu());
    /// let parts = x.split_with_sizes(&[1, 2], 1);
    /// assert_eq!(parts[0].to_vec()?, [1.0, 4.0]);
    /// assert_eq!(parts[1].to_vec()?, [2.0, 3.0, 5.0, 6.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn split_with_sizes(&self, sizes: &[usize], axis: isize) -> Vec<Tensor> {
        let shape = self.shape();
        let count = shape[shape.resolve(axis, "split_with_sizes")];
        let fits = sizes.iter().sum::<usize>() == count;
        assert!(fits, "split_with_sizes: {sizes:?} do not add up to the {count} of {shape}");
        let mut end = 0;
        let part = |size: &usize| {
            end += size;
            self.slice(axis, end - size..end)
        };
        sizes.iter().map(part).collect()
    }

    /// The tensor cut along `axis` (negative: from the end) into `count` parts of one size, but for
    /// the last, which may be smaller; into fewer if the axis is too short for so many.
    ///
    /// # Panics
    /// If there is no such axis, or `count` is 0.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[1.0, 2.0, 3.0, 4.0], [2, 2], &Device::cpu());
    /// let columns = x.chunk(2, -1);
    /// assert_eq!(columns[1].to_vec()?, [2.0, 4.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn chunk(&self, count: usize, axis: isize) -> Vec<Tensor> {
        let shape = self.shape();
        assert!(count > 0, "chunk: no parts of {shape}");
        let size = shape[shape.resolve(axis, "chunk")].div_ceil(count);
        self.split(size.max(1), axis)
    }

    /// The tensor with `value` around it: `padding` says for each axis how many to put before and
    /// after.
    ///
    /// # Panics
    /// If `padding` has not one pair for each axis.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[1.0, 2.0], [1, 2], &Device::cpu());
    /// let padded = x.pad(&[(0, 1), (1, 0)], 9.0);
    /// assert_eq!(padded.to_vec()?, [9.0, 1.0, 2.0, 9.0, 9.0, 9.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn pad(&self, padding: &[(usize, usize)], value: f32) -> Tensor {
        let shape = self.shape();
        assert!(padding.len() == shape.rank(), "pad: {} pairs for {shape}", padding.len());
        let mut padded = self.clone();
        for (axis, (before, after)) in padding.iter().enumerate() {
            if (*before, *after) != (0, 0) {
                let border =
                    |size| Tensor::full(value, padded.shape().with(axis, size), self.device());
                let [before, after] = [border(*before), border(*after)];
                padded = Tensor::concatenate(&[&before, &padded, &after], axis as isize);
            }
        }
        padded
    }

    /// What lies at `index` along `axis` (negative: from the end), which the result does not have.
    ///
    /// # Panics
    /// If there is no such axis, or the index is not below its size.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3], &Device::cpu());
    /// assert_eq!(x.select(1, 2).to_vec()?, [3.0, 6.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn select(&self, axis: isize, index: usize) -> Tensor {
        let shape = self.shape();
        let count = shape[shape.resolve(axis, "select")];
        assert!(index < count, "select: index {index} is not below the {count} of {shape}");
        self.slice(axis, index..index + 1).squeeze(axis)
    }

    /// `length` elements from `start` on along `axis` (negative: from the end), as
    /// [`Tensor::slice`].
    ///
    /// # Panics
    /// If there is no such axis or the range goes beyond it.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[1.0, 2.0, 3.0, 4.0], [4], &Device::cpu());
    /// assert_eq!(x.narrow(0, 1, 2).to_vec()?, [2.0, 3.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn narrow(&self, axis: isize, start: usize, length: usize) -> Tensor {
        let shape = self.shape();
        let count = shape[shape.resolve(axis, "narrow")];
        let fits = start.checked_add(length).is_some_and(|end| end <= count);
        assert!(fits, "narrow: {length} from {start} on, of the {count} of {shape}");
        self.slice(axis, start..start + length)
    }

    /// What lies at `ids` along `axis` (negative: from the end), as [`Tensor::gather`] with ids of
    /// one axis. Ids may repeat.
    ///
    /// # Panics
    /// If there is no such axis, the ids have not one axis, or an id is not below the axis's size.
    ///
    /// ```
    /// use neutreno_engine::{Device, Ids, Tensor};
    /// let x = Tensor::new(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3], &Device::cpu());
    /// assert_eq!(x.index_select(1, &Ids::new(vec![2, 0], [2])).to_vec()?, [3.0, 1.0, 6.0, 4.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn index_select(&self, axis: isize, ids: &Ids) -> Tensor {
        self.shape().resolve(axis, "index_select");
        assert!(ids.shape().rank() == 1, "index_select: ids of shape {}", ids.shape());
        self.gather(ids, axis)
    }

    /// A constant of this tensor's shape, on its device, with the same number everywhere.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[1.0, 2.0], [2], &Device::cpu());
    /// assert_eq!(x.full_like(0.5).to_vec()?, [0.5, 0.5]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    pub fn full_like(&self, value: f32) -> Tensor {
        Tensor::full(value, self.shape(), self.device())
    }

    /// Zeros, as [`Tensor::full_like`].
    pub fn zeros_like(&self) -> Tensor {
        self.full_like(0.0)
    }

    /// Ones, as [`Tensor::full_like`].
    pub fn ones_like(&self) -> Tensor {
        self.full_like(1.0)
    }
}

/// The shape with an axis of size 1 put in, which becomes number `axis`.
#[track_caller]
fn unsqueezed(name: &str, shape: Shape, axis: isize) -> Shape {
    let rank = shape.rank() as isize + 1;
    let from_start = if axis < 0 { axis + rank } else { axis };
    assert!((0..rank).contains(&from_start), "{name}: no axis {axis} can be put into {shape}");
    let (before, after) = shape.split_at(from_start as usize);
    Shape::new(&[before, &[1], after].concat())
}
