//! The parts that both kinds of ONNX graph are made of, and what writes a node of each.

use super::Channels;
use super::node::{Linear, Node, QuantNode, Value as QuantValue};
use ocellus_shared::{Shape, Window};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::type_proto::{Tensor, Value};
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto};

/// Collects the nodes and constants of a graph.
#[derive(Default)]
pub struct Builder {
    graph: GraphProto,
}

impl Builder {
    /// Adds a node whose one output, and itself, are called `output`; gives that name back.
    pub fn node(&mut self, op_type: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> String {
        self.graph.node.push(NodeProto {
            op_type: op_type.to_owned(),
            name: output.to_owned(),
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.to_owned()],
            attribute,
            ..NodeProto::default()
        });
        output.to_owned()
    }

    /// Adds int8 constants called `name`; gives that name back.
    pub fn i8s(&mut self, name: String, dims: &[usize], values: &[i8]) -> String {
        self.constant(name, DataType::Int8, dims, bytemuck::cast_slice(values).to_vec())
    }

    /// Adds int32 constants called `name`; gives that name back.
    pub fn i32s(&mut self, name: String, dims: &[usize], values: &[i32]) -> String {
        self.constant(name, DataType::Int32, dims, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// Adds int64 constants of one axis called `name`; gives that name back.
    pub fn i64s(&mut self, name: String, values: &[i64]) -> String {
        self.constant(name, DataType::Int64, &[values.len()], values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// Adds f32 constants called `name`; gives that name back.
    pub fn f32s(&mut self, name: String, dims: &[usize], values: &[f32]) -> String {
        self.constant(name, DataType::Float, dims, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    fn constant(&mut self, name: String, data_type: DataType, dims: &[usize], raw_data: Vec<u8>) -> String {
        let dims = dims.iter().map(|&d| d as i64).collect();
        let name_of = name.clone();
        let tensor = TensorProto { name, dims, data_type: data_type as i32, raw_data, ..TensorProto::default() };
        self.graph.initializer.push(tensor);
        name_of
    }

    /// Makes a vector of a feature map, `(batch, n, 1, 1)`, in the board's order of elements.
    pub fn flatten(&mut self, x: &str, shape: Shape, output: &str) -> String {
        let rows = self.i64s(format!("{output}/shape"), &[0, shape.len() as i64, 1, 1]);
        if shape.pixels() == 1 {
            return self.node("Reshape", &[x, &rows], output, vec![]);
        }
        let x = self.node("Transpose", &[x], &format!("{output}/hwc"), vec![ints("perm", &[0, 2, 3, 1])]);
        self.node("Reshape", &[&x, &rows], output, vec![])
    }

    /// `x` as a vector, of which `name` reads it; itself where it is one.
    pub fn as_vector(&mut self, x: &str, shape: Shape, name: &str) -> String {
        match shape == Shape::vector(shape.c) {
            true => x.to_owned(),
            false => self.flatten(x, shape, &format!("{name}/flat")),
        }
    }

    /// Writes the sum over the channels of `a * b`, maps `(batch, c, h, w)` or constants of which an axis may have one element, as a
    /// map with one channel, called `result`; what lies between is called after `name`.
    pub fn dot(&mut self, a: &str, b: &str, name: &str, result: &str) {
        let products = self.node("Mul", &[a, b], &format!("{name}/products"), vec![]);
        let axes = self.i64s(format!("{name}/axes"), &[1]);
        self.node("ReduceSum", &[&products, &axes], result, vec![int("keepdims", 1)]);
    }

    /// Tells readers the type of an intermediate value.
    pub fn describe(&mut self, name: &str, data_type: DataType, shape: Shape) {
        self.graph.value_info.push(value_info(name, data_type, &map_dims(shape)));
    }

    /// The finished graph from `image` to `outputs`, `(batch, classes)` each.
    pub fn finish(mut self, image: (DataType, Shape), outputs: &[(&str, DataType)], classes: usize) -> GraphProto {
        self.graph.name = "ocellus".to_owned();
        self.graph.input.push(value_info("image", image.0, &map_dims(image.1)));
        let outputs = outputs.iter().map(|&(name, data_type)| value_info(name, data_type, &[classes]));
        self.graph.output.extend(outputs);
        self.graph
    }
}

fn map_dims(shape: Shape) -> [usize; 3] {
    [shape.c, shape.h, shape.w].map(usize::from)
}

/// A value of any batch size whose other dimensions are `dims`.
fn value_info(name: &str, data_type: DataType, dims: &[usize]) -> ValueInfoProto {
    let batch = dimension::Value::DimParam("batch".to_owned());
    let dims = dims.iter().map(|&d| dimension::Value::DimValue(d as i64));
    let dim = std::iter::once(batch).chain(dims);
    let dim = dim.map(|value| Dimension { value: Some(value), ..Dimension::default() }).collect();
    let tensor = Tensor { elem_type: data_type as i32, shape: Some(TensorShapeProto { dim }) };
    let value = Some(Value::TensorType(tensor));
    let r#type = Some(TypeProto { value, ..TypeProto::default() });
    ValueInfoProto { name: name.to_owned(), r#type, ..ValueInfoProto::default() }
}

/// An attribute with one integer.
pub fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: AttributeType::Int as i32, i, ..AttributeProto::default() }
}

/// An attribute with one real number.
pub fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: AttributeType::Float as i32, f, ..AttributeProto::default() }
}

/// An attribute with several integers.
pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
    let (r#type, ints) = (AttributeType::Ints as i32, values.to_vec());
    AttributeProto { name: name.to_owned(), r#type, ints, ..AttributeProto::default() }
}

/// The attributes of a window.
pub fn window(window: Window) -> Vec<AttributeProto> {
    let [kernel, stride] = [window.kernel, window.stride].map(|pair| pair.map(i64::from));
    vec![ints("kernel_shape", &kernel), ints("strides", &stride), ints("pads", &window.pad.map(i64::from))]
}

/// `window` with a stride of 1 on each axis on which it has only one place: tract cannot run all strides there.
fn without_idle_strides(mut window: Window, input: Shape) -> Window {
    for (axis, size) in [input.h, input.w].into_iter().enumerate() {
        let pads = u16::from(window.pad[axis]) + u16::from(window.pad[axis + 2]);
        if size + pads == u16::from(window.kernel[axis]) {
            window.stride[axis] = 1;
        }
    }
    window
}

/// A linear operator as ONNX knows it: a convolution.
struct Filter<T> {
    /// Output channels, input channels per group, kernel rows, kernel columns.
    pub dims: [usize; 4],
    /// In the order of `dims`.
    pub weights: Vec<T>,
    pub window: Window,
    pub groups: usize,
}

impl<T: Copy> Filter<T> {
    /// Reorders `weights` for so many channels of the output from the layout of [`Linear::weights`]; without a window, every
    /// value of the input is one.
    fn new(channels: Channels, window: Option<Window>, weights: &[T], outputs: usize) -> Self {
        let (filter, window) = (weights.len() / outputs, window.unwrap_or(Window::valid(1, 1)));
        let taps = window.taps();
        let inputs = filter / taps;
        let (groups, at): (_, &dyn Fn(usize, usize, usize) -> T) = match channels {
            Channels::Filters => (1, &|o, i, tap| weights[(o * taps + tap) * inputs + i]),
            _ => (outputs, &|o, _, tap| weights[tap * outputs + o]),
        };
        let weights = (0..weights.len()).map(|k| at(k / filter, k % filter / taps, k % taps)).collect();
        let [kh, kw] = window.kernel.map(usize::from);
        Self { dims: [outputs, inputs, kh, kw], weights, window, groups }
    }

    /// The attributes of the convolution.
    pub fn attributes(&self) -> Vec<AttributeProto> {
        let mut attributes = window(self.window);
        attributes.push(int("group", self.groups as i64));
        attributes
    }
}

/// Writes one node of a float graph.
pub struct FloatWriter<'a> {
    /// The graph so far.
    pub onnx: &'a mut Builder,
    /// Names and shapes of what the node reads.
    pub inputs: &'a [(&'a str, Shape)],
}

impl<'a> FloatWriter<'a> {
    /// Name of input `k`.
    pub fn input(&self, k: usize) -> &'a str {
        self.inputs[k].0
    }

    /// `window` on the first input.
    pub fn window(&self, window: Window) -> Window {
        without_idle_strides(window, self.inputs[0].1)
    }

    /// Input `k` as a vector; itself where it is one.
    pub fn flat(&mut self, k: usize, name: &str) -> String {
        let (x, shape) = self.inputs[k];
        self.onnx.as_vector(x, shape, name)
    }

    /// The node as a convolution of `x`.
    pub fn conv(&mut self, node: &Node, linear: &Linear, x: &str, result: &str) {
        let window = node.op.window().map(|window| self.window(window));
        let filter = Filter::new(Channels::of(node.op), window, &linear.weights, linear.bias.len());
        let weight = self.onnx.f32s(format!("{}/weight", node.name), &filter.dims, &filter.weights);
        let bias = self.onnx.f32s(format!("{}/bias", node.name), &[linear.bias.len()], &linear.bias);
        self.onnx.node("Conv", &[x, &weight, &bias], result, filter.attributes());
    }
}

/// Scale 1, shared by all nodes of an int8 graph: their physical scales are in the multipliers.
pub const ONE: &str = "/one";

/// Writes the nodes that compute one node of a quantized graph.
pub struct Int8Writer<'a> {
    /// The graph so far.
    pub onnx: &'a mut Builder,
    /// What is written; its name is that of the result.
    pub node: &'a QuantNode,
    /// Names of what it reads, and how they are stored.
    pub inputs: &'a [(&'a str, QuantValue)],
    /// How its result is stored.
    pub output: QuantValue,
}

impl<'a> Int8Writer<'a> {
    /// Name of input `k`.
    pub fn input(&self, k: usize) -> &'a str {
        self.inputs[k].0
    }

    /// `window` on the first input.
    pub fn window(&self, window: Window) -> Window {
        without_idle_strides(window, self.inputs[0].1.shape)
    }

    /// Input `k` as a vector; itself where it is one.
    pub fn flat(&mut self, k: usize) -> String {
        let (x, value) = self.inputs[k];
        self.onnx.as_vector(x, value.shape, &self.node.name)
    }

    /// `QLinearConv` of `x`, with all scales in `w_scale`: tract folds `x_scale * w_scale / y_scale` in various orders, which
    /// differ by rounding, but not if two of them are 1.
    pub fn linear(&mut self, x: &str, weights: &[i8], biases: &[i32]) {
        let QuantNode { name, op, multipliers, .. } = self.node;
        let window = op.window().map(|window| self.window(window));
        let filter = Filter::new(Channels::of(*op), window, weights, multipliers.len());
        let x_zero = self.zero(&format!("{name}/x_zero_point"), self.inputs[0].1);
        if multipliers.len() == 1 {
            return self.single_channel(x, &x_zero, &filter, biases);
        }
        let channels = [multipliers.len()];
        let weight = self.onnx.i8s(format!("{name}/weight"), &filter.dims, &filter.weights);
        let scale = self.onnx.f32s(format!("{name}/multiplier"), &channels, multipliers);
        let w_zero = self.onnx.i8s(format!("{name}/w_zero_point"), &channels, &vec![0; biases.len()]);
        let y_zero = self.zero(&format!("{name}/y_zero_point"), self.output);
        let bias = self.onnx.i32s(format!("{name}/bias"), &channels, biases);
        let inputs = [x, ONE, &x_zero, &weight, &scale, &w_zero, ONE, &y_zero, &bias];
        self.onnx.node("QLinearConv", &inputs, name, filter.attributes());
    }

    /// A linear operator with one output channel. tract requantizes a `QLinearConv` with a single multiplier by an exact
    /// product instead of one in f32, so this one requantizes by itself; and it cannot run all `ConvInteger`s that look
    /// at one pixel, so those are written out.
    fn single_channel(&mut self, x: &str, x_zero: &str, filter: &Filter<i8>, bias: &[i32]) {
        let name = &self.node.name;
        let part = |part: &str| format!("{name}/{part}");
        let sum = part("sum");
        if filter.window == Window::valid(1, 1) {
            let x = self.centred(0, x, &part("x"));
            let weights: Vec<i32> = filter.weights.iter().map(|&w| w.into()).collect();
            let weight = self.onnx.i32s(part("weight"), &[1, weights.len(), 1, 1], &weights);
            self.onnx.dot(&x, &weight, name, &sum);
        } else {
            let weight = self.onnx.i8s(part("weight"), &filter.dims, &filter.weights);
            self.onnx.node("ConvInteger", &[x, &weight, x_zero], &sum, filter.attributes());
        }
        let bias = self.onnx.i32s(part("bias"), &[1, 1, 1, 1], bias);
        let acc = self.onnx.node("Add", &[&sum, &bias], &part("acc"), vec![]);
        self.requantize(&acc);
    }

    /// int32 `acc` times the node's only multiplier, rounded and clamped.
    pub fn requantize(&mut self, acc: &str) {
        let QuantNode { name, multipliers, .. } = self.node;
        let scale = self.onnx.f32s(format!("{name}/multiplier"), &[], multipliers);
        let real = self.onnx.node("DequantizeLinear", &[acc, &scale], &format!("{name}/product"), vec![]);
        let zero = self.zero(&format!("{name}/y_zero_point"), self.output);
        self.onnx.node("QuantizeLinear", &[&real, ONE, &zero], name, vec![]);
    }

    /// `x - zero` in int32, where `x` holds the integers of input `k`.
    pub fn centred(&mut self, k: usize, x: &str, name: &str) -> String {
        let x = self.cast(x, &format!("{name}/int32"));
        let zero = self.inputs[k].1.params.zero;
        let zero = self.onnx.i32s(format!("{name}/zero_point"), &[], &[zero.into()]);
        self.onnx.node("Sub", &[&x, &zero], &format!("{name}/centred"), vec![])
    }

    /// `x` in int32.
    pub fn cast(&mut self, x: &str, output: &str) -> String {
        self.onnx.node("Cast", &[x], output, vec![int("to", DataType::Int32 as i64)])
    }

    /// A constant with the zero point of `value`.
    pub fn zero(&mut self, name: &str, value: QuantValue) -> String {
        self.onnx.i8s(name.to_owned(), &[], &[value.params.zero])
    }
}
