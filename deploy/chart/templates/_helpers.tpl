{{/* The beginning of all names: the release's, with the chart's unless that is in it. */}}
{{- define "energy-sites.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that select the pods of one component: (list . COMPONENT). */}}
{{- define "energy-sites.selector" -}}
app.kubernetes.io/name: {{ (index . 0).Chart.Name }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* All labels of one component. */}}
{{- define "energy-sites.labels" -}}
{{ include "energy-sites.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ printf "%s-%s" (index . 0).Chart.Name (index . 0).Chart.Version }}
{{- end -}}

{{/* Labels that select the pods of all services, whichever Deployment they are of. */}}
{{- define "energy-sites.serverSelector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
energy-sites/server: "true"
{{- end -}}

{{/* The Deployments of the services, as JSON: name -> which services, by their flag. */}}
{{- define "energy-sites.deployments" -}}
{{- if .Values.allInOne -}}
{"all": "sites,configurations,live_data"}
{{- else -}}
{"sites": "sites", "configurations": "configurations", "live-data": "live_data"}
{{- end -}}
{{- end -}}

{{- define "energy-sites.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "energy-sites.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  # So that the pod may read its secrets.
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "energy-sites.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* Over nodes and zones, as far as they go: (list . COMPONENT). */}}
{{- define "energy-sites.spread" -}}
topologySpreadConstraints:
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "energy-sites.selector" $ | nindent 8 }}
{{- end }}
{{- end -}}

{{/* Envoy's configuration: the gateway's, or the chart's own, which trusts everybody. Both have
     RELEASE where the names of this release begin. */}}
{{- define "energy-sites.envoyConfig" -}}
{{- with .Values.gateway.configuration -}}
{{- /* Envoy would not start with the former; the services would refuse each call of the latter. */ -}}
{{- if not (hasPrefix "# Made by deploy/envoy/render" .) -}}
{{- fail "gateway.configuration: must be what deploy/envoy/render prints" -}}
{{- else if not (contains "envoy.filters.http.jwt_authn" .) -}}
{{- fail "gateway.configuration: must be made of settings with `jwt`" -}}
{{- end -}}
{{- end -}}
{{- $own := .Files.Get "files/envoy.yaml" | required "files/envoy.yaml is missing: deploy/package_chart makes the chart with it" -}}
{{- .Values.gateway.configuration | default $own | replace "RELEASE-" (printf "%s-" (include "energy-sites.name" .)) -}}
{{- end -}}

{{/* What is seen of that, as JSON: scheme (http, or https where Envoy has a certificate), the port in
     the pod, the port of the Service, and the port in the pod of the metrics, 0 for none. */}}
{{- define "energy-sites.edge" -}}
{{- $config := include "energy-sites.envoyConfig" . | fromYaml -}}
{{- $listener := first $config.static_resources.listeners -}}
{{- $tls := hasKey (first $listener.filter_chains) "transport_socket" -}}
{{- $scheme := ternary "https" "http" $tls -}}
{{- dict "scheme" $scheme "port" $listener.address.socket_address.port_value
         "servicePort" (.Values.envoy.service.port | default (ternary 443 80 $tls))
         "metricsPort" (dig "admin" "address" "socket_address" "port_value" 0 $config) | toJson -}}
{{- end -}}

{{/* Mounts and volumes of the database's secrets: (list . (list "database" "owner")). A mounted
     secret follows its changes; one in the environment would not. */}}
{{- define "energy-sites.databaseMounts" -}}
{{- $root := index . 0 -}}
{{- range index . 1 }}
- {name: {{ . }}, mountPath: /etc/energy-sites/{{ . }}, readOnly: true}
{{- end }}
{{- if $root.Values.database.caConfigMap.name }}
- {name: database-ca, mountPath: /etc/energy-sites/database-ca, readOnly: true}
{{- end }}
{{- end -}}

{{- define "energy-sites.databaseVolumes" -}}
{{- $root := index . 0 -}}
{{- $database := $root.Values.database -}}
{{- range index . 1 }}
{{- $secret := ternary $database.ownerSecret $database.secret (eq . "owner") }}
- name: {{ . }}
  secret:
    secretName: {{ $secret.name }}
    defaultMode: 0440
    items: [{key: {{ $secret.key }}, path: url}]
{{- end }}
{{- with $database.caConfigMap }}
{{- if .name }}
- name: database-ca
  configMap:
    name: {{ .name }}
    items: [{key: {{ .key }}, path: {{ .key }}}]
{{- end }}
{{- end }}
{{- end -}}

{{/* One run of the program to its end: (list . COMPONENT ARGUMENTS SECRETS). */}}
{{- define "energy-sites.runOnce" -}}
{{- $root := index . 0 -}}
metadata:
  labels: {{- include "energy-sites.labels" (list $root (index . 1)) | nindent 4 }}
spec:
  restartPolicy: Never
  {{- include "energy-sites.podSecurity" $root | nindent 2 }}
  {{- with $root.Values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: energy-sites
      image: {{ include "energy-sites.image" $root }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: {{- toYaml (index . 2) | nindent 8 }}
      {{- include "energy-sites.containerSecurity" $root | nindent 6 }}
      resources:
        requests: {cpu: 100m, memory: 64Mi}
        limits: {memory: 256Mi}
      volumeMounts: {{- include "energy-sites.databaseMounts" (list $root (index . 3)) | nindent 8 }}
  volumes: {{- include "energy-sites.databaseVolumes" (list $root (index . 3)) | nindent 4 }}
{{- end -}}
