{{/* The prefix of all names: the release name, with the chart name unless it contains that. */}}
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

{{/* Labels that select the pods of all services, in all Deployments. */}}
{{- define "energy-sites.serverSelector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
energy-sites/server: "true"
{{- end -}}

{{/* The Deployments of the services, as JSON: name -> value of the flag --services. */}}
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
  # Gives the pod read access to its secrets.
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "energy-sites.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* Spreads the pods over nodes and zones if possible: (list . COMPONENT). */}}
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

{{/* The configuration of Envoy: that of the gateway, or that of the chart, which has no
     authentication. In both, RELEASE is replaced by the prefix of the names of this release. */}}
{{- define "energy-sites.envoyConfig" -}}
{{- with .Values.gateway.configuration -}}
{{- /* Without the first check Envoy may fail to start; without the second the services reject all
       calls. */ -}}
{{- if not (hasPrefix "# Made by deploy/envoy/render" .) -}}
{{- fail "gateway.configuration: must be what deploy/envoy/render prints" -}}
{{- else if not (contains "envoy.filters.http.jwt_authn" .) -}}
{{- fail "gateway.configuration: must be made of settings with `jwt`" -}}
{{- end -}}
{{- end -}}
{{- $own := .Files.Get "files/envoy.yaml" | required "files/envoy.yaml is missing: deploy/package_chart makes the chart with it" -}}
{{- .Values.gateway.configuration | default $own | replace "RELEASE-" (printf "%s-" (include "energy-sites.name" .)) -}}
{{- end -}}

{{/* Properties of that configuration, as JSON: scheme (https if Envoy has a certificate, otherwise
     http), port of the pod, port of the Service, and metrics port of the pod, 0 for none. */}}
{{- define "energy-sites.edge" -}}
{{- $config := include "energy-sites.envoyConfig" . | fromYaml -}}
{{- $listener := first $config.static_resources.listeners -}}
{{- $tls := hasKey (first $listener.filter_chains) "transport_socket" -}}
{{- $scheme := ternary "https" "http" $tls -}}
{{- dict "scheme" $scheme "port" $listener.address.socket_address.port_value
         "servicePort" (.Values.envoy.service.port | default (ternary 443 80 $tls))
         "metricsPort" (dig "admin" "address" "socket_address" "port_value" 0 $config) | toJson -}}
{{- end -}}

{{/* Mounts and volumes of the database secrets: (list . (list "database" "owner")). Mounted secrets
     are updated when they change; environment variables are not. */}}
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

{{/* The pod template of a job: (list . COMPONENT ARGUMENTS SECRETS). */}}
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
